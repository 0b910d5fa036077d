#pragma once
/// \file
/// Rows that stay on a GPU for k-means, assigned and summed by the native engine.

#include "backends/torch/gpu_device.h"

namespace ivf::detail::torch_backend {

class GpuRows final : public HeldRows {
 public:
  /// Uploads the rows. Throws Error(failed) when they do not fit.
  GpuRows(std::shared_ptr<GpuDevice> device, MatrixView rows, unsigned threads, std::uint64_t max_memory);

  /// `value` may be null.
  void assign(const Corpus& centroids, std::int32_t* list, float* value) override;
  void update_sums(const FixedPoint& fixed, std::size_t nlist, const std::int32_t* before, const std::int32_t* after,
                   std::uint64_t* sums, std::uint64_t* sizes) override;

 private:
  gpu::Rows on_device_rows() const;

  std::shared_ptr<GpuDevice> device_;
  std::size_t dim_;
  unsigned threads_;
  std::uint64_t memory_;
  at::Tensor values_;  ///< n x d
};

}  // namespace ivf::detail::torch_backend

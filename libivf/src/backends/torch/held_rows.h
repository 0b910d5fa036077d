#pragma once
/// \file
/// Rows that stay on the device for k-means, and the assignment of rows to centroids.

#include <memory>
#include <vector>

#include "backends/torch/search.h"

namespace ivf::detail::torch_backend {

/// Rows on the device, n x d. Throws Error(failed) when they do not fit.
at::Tensor hold_on_device(const Runtime& runtime, MatrixView rows, unsigned threads);

class DeviceRows final : public HeldRows {
 public:
  /// Uploads the rows. Throws Error(failed) when they do not fit.
  DeviceRows(std::shared_ptr<const Runtime> runtime, MatrixView rows, unsigned threads, std::uint64_t max_memory);

  /// `value` may be null.
  void assign(const Corpus& centroids, std::int32_t* list, float* value) override;
  void update_sums(const FixedPoint& fixed, std::size_t nlist, const std::int32_t* before, const std::int32_t* after,
                   std::uint64_t* sums, std::uint64_t* sizes) override;

 private:
  void assign_batch(const DeviceCorpus& centroids, std::size_t first, std::size_t n, std::int32_t* list, float* value,
                    std::vector<std::uint32_t>& unproven);
  void assign_again(const Corpus& centroids, const std::vector<std::uint32_t>& rows, std::int32_t* list, float* value);

  std::shared_ptr<const Runtime> runtime_;
  MatrixView rows_;
  unsigned threads_;
  std::uint64_t memory_;
  at::Tensor values_;  ///< n x d
};

}  // namespace ivf::detail::torch_backend

#pragma once
/// \file
/// Several GPUs of one host as one backend: each has a part of the rows, in the order of the lists, and searches it for
/// all queries; results are merged in the total order, and are those of one device to the last bit.

#include <memory>
#include <string>
#include <vector>

#include "backends/torch/gpu_backend.h"
#include "backends/torch/gpu_workers.h"

namespace ivf::detail::torch_backend {

class ShardedBackend final : public Backend {
 public:
  /// `name` is what users call all of them: "cuda:all".
  ShardedBackend(std::string name, std::vector<std::unique_ptr<GpuBackend>> devices);

  std::string_view name() const noexcept override { return "native"; }
  std::string_view isa() const noexcept override { return first().isa(); }
  /// The memory is that of all.
  DeviceInfo device() const override;
  DevicePeak measure_peak() const override;
  bool probes() const noexcept override { return true; }
  /// Centroids, which have no ids, go to every device as a whole; of other corpora each gets as many rows.
  std::shared_ptr<const Resident> load(const Corpus& corpus) override;

  std::unique_ptr<HeldQueries> hold_queries(MatrixView queries, std::size_t k) override;
  void topk(const ScanRequest& request, std::size_t k, float* values, idx_t* ids, SearchStats& stats) override;
  void probe(const ScanRequest& request, std::size_t k, std::int32_t* lists, float* bounds,
             SearchStats& stats) override;
  RangeHits range(const ScanRequest& request, float radius, SearchStats& stats) override;
  /// Assignment, and the sums of k-means, are the first device's.
  void assign(const Corpus& centroids, MatrixView rows, std::int32_t* list, float* value, unsigned threads) override;
  std::unique_ptr<HeldRows> hold(MatrixView rows, unsigned threads, std::uint64_t max_memory) override;

 private:
  GpuBackend& first() const noexcept { return *devices_.front(); }

  std::string name_;
  std::vector<std::unique_ptr<GpuBackend>> devices_;
  Workers workers_;
};

/// One backend for all of these devices, which users call `name`: null for none, and one by itself.
std::unique_ptr<Backend> one_of(const std::string& name, std::vector<std::unique_ptr<GpuBackend>> devices);

}  // namespace ivf::detail::torch_backend

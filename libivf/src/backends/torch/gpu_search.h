#pragma once
/// \file
/// One search by the native engine: batches that fit the memory, and the way of queries and results to and from the
/// device.

#include "backends/torch/gpu_corpus.h"

namespace ivf::detail::torch_backend {

/// A corpus on the device: what the index keeps there, or loaded for the call.
std::shared_ptr<const GpuCorpus> gpu_corpus_of(const std::shared_ptr<GpuDevice>& device, const Corpus& corpus);

class GpuSearch {
 public:
  GpuSearch(std::shared_ptr<GpuDevice> device, const ScanRequest& request, std::size_t k, SearchStats& stats);

  /// Whether the engine takes the request. Otherwise nothing but corpora() may be called.
  bool possible() const noexcept;
  /// Canonical results, request.queries.rows x k each.
  void run(float* values, idx_t* ids);

  const GpuCorpus& corpus() const noexcept { return *corpus_; }
  const GpuCorpus* centroids() const noexcept { return centroids_.get(); }

 private:
  const gpu::DeviceCorpus& searched_rows() const noexcept { return filtered_ ? *filtered_ : *corpus_->rows(); }
  std::size_t batch_size() const noexcept;
  /// What a query and its results take on the device.
  std::uint64_t query_bytes() const noexcept;
  void run_batch(std::size_t first, std::size_t count, float* values, idx_t* ids);
  /// Puts a batch on the device with the engine; `probes` are its lists where the request names them.
  void put(gpu::Engine& engine, const gpu::Rows& queries, const gpu::ProbeLists& probes, const gpu::Results& results);

  std::shared_ptr<GpuDevice> device_;
  const ScanRequest& request_;
  std::size_t k_;
  SearchStats& stats_;
  std::shared_ptr<const GpuCorpus> corpus_, centroids_;
  std::unique_ptr<gpu::DeviceCorpus> filtered_;  ///< The rows without those that the request must not find.
  std::size_t nprobe_ = 0;                       ///< 0: every row is scanned.
  std::uint64_t memory_;
};

}  // namespace ivf::detail::torch_backend

#pragma once
/// \file
/// One search by the native engine: batches that fit the memory, and the way of queries and results to and from the
/// device.

#include <limits>

#include "backends/torch/gpu_corpus.h"

namespace ivf::detail::torch_backend {

/// A corpus on the device: what the index keeps there, or loaded for the call.
std::shared_ptr<const GpuCorpus> gpu_corpus_of(const std::shared_ptr<GpuDevice>& device, const Corpus& corpus);

/// Queries on the device, with room for results.
class GpuQueries final : public HeldQueries {
 public:
  GpuQueries(std::shared_ptr<GpuDevice> device, MatrixView queries, std::size_t k);
  void fetch(float* values, idx_t* ids) const override;

 private:
  friend class GpuSearch;
  std::shared_ptr<GpuDevice> device_;
  at::Tensor queries_, values_, ids_;
};

class GpuSearch {
 public:
  GpuSearch(std::shared_ptr<GpuDevice> device, const ScanRequest& request, std::size_t k, SearchStats& stats);

  /// Whether the engine takes the request. Otherwise nothing but corpora() may be called.
  bool possible() const noexcept;
  /// Canonical results, request.queries.rows x k each.
  void run(float* values, idx_t* ids);
  /// The same for ScanRequest::held.
  void run_held();
  /// All hits of each query (k is without meaning).
  RangeHits run_range(float radius);

  const GpuCorpus& corpus() const noexcept { return *corpus_; }
  const GpuCorpus* centroids() const noexcept { return centroids_.get(); }

 private:
  const gpu::DeviceCorpus& searched_rows() const noexcept { return filtered_ ? *filtered_ : *corpus_->rows(); }
  const gpu::DeviceCorpus* placed_centroids() const noexcept { return centroids_ ? centroids_->rows() : nullptr; }
  std::size_t batch_size() const noexcept;
  template <class Batch>
  void for_batches(Batch batch);
  std::size_t lists_a_query() const noexcept { return nprobe_ == 0 ? request_.corpus->nlist : nprobe_; }
  /// The value of a result that is missing.
  float nothing() const noexcept {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    return request_.corpus->inner_product ? -infinity : infinity;
  }
  const std::int32_t* probed_lists(std::size_t query) const noexcept {
    return request_.probes.lists == nullptr ? nullptr : request_.probes.lists + query * nprobe_;
  }
  /// What the engine has of the memory beside so many queries.
  std::uint64_t workspace(std::size_t queries) const noexcept {
    return std::max<std::uint64_t>(memory_ - std::min(memory_ / 4, queries * query_bytes()), 1);
  }
  void describe();
  void hide_rows();
  /// What a query and its results take on the device.
  std::uint64_t query_bytes() const noexcept;
  void run_batch(std::size_t first, std::size_t count, float* values, idx_t* ids);
  /// Puts a batch on the device with the engine; `probes` are its lists where the request names them. What it
  /// did goes into the statistics if it is to be `counted`.
  void put(gpu::Engine& engine, const gpu::Rows& queries, const gpu::ProbeLists& probes, const gpu::Results& results,
           bool counted);
  void count_work(const gpu::Report& report);

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

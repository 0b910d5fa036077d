#pragma once
/// \file
/// One search on a device: batches that fit the memory, the coarse step, the scan, and queries that have to be looked
/// at again because the first selection was not provably enough.

#include <vector>

#include "backends/torch/refine.h"

namespace ivf::detail::torch_backend {

/// A corpus on the device: what the index keeps there, or loaded for the call.
std::shared_ptr<const DeviceCorpus> resident_of(const std::shared_ptr<const Runtime>& runtime, const Corpus& corpus,
                                                DeviceType dtype);

/// The same for a search: without the rows that the request must not find.
std::shared_ptr<const DeviceCorpus> searched_rows(const std::shared_ptr<const Runtime>& runtime,
                                                  const ScanRequest& request, DeviceType dtype);

/// Copies queries to the device.
at::Tensor upload_rows(const Runtime& runtime, MatrixView rows, unsigned threads);

/// The lists of queries first, first + 1, ... of a request (`queries` are their vectors), n x nprobe on the device:
/// those that the request names, or the canonical top of its centroids. Undefined when it looks at every row.
at::Tensor canonical_lists(const std::shared_ptr<const Runtime>& runtime, const ScanRequest& request, std::size_t first,
                           MatrixView queries, SearchStats& stats);

class Search {
 public:
  Search(std::shared_ptr<const Runtime> runtime, DeviceType dtype, const ScanRequest& request, std::size_t k,
         SearchStats& stats);

  /// Canonical results, request.queries.rows x k each.
  void run(float* values, idx_t* ids);

 private:
  /// How wide a selection is: the first time, the second, and when nothing narrower will do.
  enum class Breadth { first, wide, everything };

  /// The lists of a batch, and what shows that they are the canonical ones: nothing, if they are for certain.
  struct Coarse {
    at::Tensor lists;  ///< On the device, n x nprobe; undefined: all rows.
    at::Tensor
        gap;  ///< n: from the last list chosen to the next one, in the filter's scores or, with `margin`, in double.
    at::Tensor margin;  ///< n: from the last list chosen to what the filter left out, without ‖q‖².
  };

  /// Queries of a batch that are scanned together.
  struct Piece {
    std::size_t first, count;
    std::int64_t widest;  ///< Batch::widest
  };

  std::int64_t width(Breadth breadth) const noexcept;
  std::size_t batch_size(Breadth breadth) const noexcept;
  /// Runs the queries (rows of request.queries) and returns those that are not proven.
  std::vector<std::uint32_t> run_batch(std::span<const std::uint32_t> queries, Breadth breadth, float* values,
                                       idx_t* ids);
  Coarse coarse(const Batch& batch, MatrixView queries, std::span<const std::uint32_t> numbers, Breadth breadth);
  Coarse nearest_lists(const Batch& batch);
  bool by_list(const Batch& batch) const;
  std::vector<Piece> cut(const Batch& batch);
  bool lists_proven(const Coarse& proof, std::size_t query, const QueryFacts& facts) const;
  void put(std::uint32_t query, const std::vector<Hit>& hits, float* values, idx_t* ids) const;

  std::shared_ptr<const Runtime> runtime_;
  DeviceType dtype_;
  const ScanRequest& request_;
  std::size_t k_;
  SearchStats& stats_;
  std::shared_ptr<const DeviceCorpus> corpus_, centroids_;
  std::size_t nprobe_ = 0;  ///< 0: every row is scanned.
  std::uint64_t memory_;
};

}  // namespace ivf::detail::torch_backend

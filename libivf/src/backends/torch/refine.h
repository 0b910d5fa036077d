#pragma once
/// \file
/// From candidates to canonical results: values re-computed in double on the device, or canonically on the host where
/// the device lacks double or full precision; then the proof, on the host, that no other row can belong.

#include <span>
#include <vector>

#include "backends/torch/scan.h"

namespace ivf::detail::torch_backend {

/// What the host knows of one query.
struct QueryFacts {
  double square = 0;    ///< ‖q‖²
  float doubt = 0;      ///< score_doubt() over the whole corpus.
  double rounding = 0;  ///< For inner products: the magnitude that double_doubt() takes. L2 takes the value itself.
  bool exact = false;   ///< Sums in double have no rounding at all: 8-bit data.
};

/// Facts of queries against a corpus. `wild` says whether any product may overflow.
std::vector<QueryFacts> query_facts(const DeviceCorpus& corpus, MatrixView queries, unsigned threads, bool& wild);

/// Squared distances or inner products of queries (n x d) and rows at `positions` (n x columns) in double, in whatever
/// order the device adds.
at::Tensor double_sums(const DeviceCorpus& corpus, const at::Tensor& queries, const at::Tensor& positions,
                       std::uint64_t memory);

/// A row and its canonical score: squared distance, or negated inner product. A zero is +0.
struct Hit {
  float score;
  idx_t id;
};

/// Candidates on their way to the host.
class RefinedBatch {
 public:
  /// Starts the work on the device and the copies; finish the download before anything else. `memory` bounds the
  /// working tensors.
  RefinedBatch(const DeviceCorpus& corpus, const Batch& batch, const Selection& selection, std::uint64_t memory,
               Download& download);

  std::size_t width() const noexcept { return width_; }
  /// The `k` best hits of a query in the total order, fewer when there are fewer rows. Returns whether they are proven.
  bool finish(std::size_t query, const float* values, const QueryFacts& facts, std::size_t k, std::vector<Hit>& hits,
              SearchStats& stats) const;

 private:
  void canonical_scores(std::size_t query, const float* values, const QueryFacts& facts, std::vector<Hit>& hits,
                        SearchStats& stats) const;

  const DeviceCorpus& corpus_;
  std::size_t width_;
  bool everything_;
  at::Tensor scores_, positions_, bound_, ids_,
      sums_;  ///< On the host. `ids_`, `sums_`: only where the device re-computes.
};

}  // namespace ivf::detail::torch_backend

#pragma once
/// \file
/// The filter with tensor operations: the rows of the best approximate scores for each query of a batch.
///
/// A score is ‖x‖² − 2D (L2, the query's own ‖q‖² left out) or −D (inner product), D the float32 product; smaller is
/// better. bounds.h says how far it may be off.

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "backends/torch/resident.h"

namespace ivf::detail::torch_backend {

/// Queries on the device, and what they look at.
struct Batch {
  at::Tensor queries;  ///< n x d
  at::Tensor lists;    ///< n x nprobe, int64, in probe order, -1: none. Undefined: every row of the corpus.
  std::uint64_t max_codes = 0;
  bool wild = false;  ///< Products may overflow: a score may be anything, and only rows that do not exist are +inf.

  std::int64_t count() const { return queries.size(0); }
};

/// Scores with the rows' positions, n x columns each; ascending where they were selected. +inf: no row.
struct Candidates {
  at::Tensor scores, positions;
  bool everything = false;  ///< No query has more rows than these.
};

struct ScanLimits {
  std::int64_t width;    ///< Candidates a query at most.
  std::uint64_t memory;  ///< Bytes of working tensors.
};

/// Per query: all rows of its lists (or of the corpus) in one matrix of candidates, in pieces that fit the memory, and
/// one selection from each.
Candidates scan_matrix(const DeviceCorpus& corpus, const Batch& batch, const ScanLimits& limits, SearchStats& stats);
/// Per list: the queries that probe it are multiplied with its rows, lists of similar size at once; a selection for
/// each query and list, and one over the lists of a query.
Candidates scan_csr(const DeviceCorpus& corpus, const Batch& batch, const ScanLimits& limits, SearchStats& stats);

/// Scores and positions of every row that each query looks at, piece by piece: visit(candidates). +inf: no row.
void for_scores(const DeviceCorpus& corpus, const Batch& batch, std::uint64_t memory, SearchStats& stats,
                const std::function<void(const Candidates&)>& visit);

/// bias − 2D or −D for b batches of queries (b x m x d) and rows (b x r x d); `bias` is b x 1 x r.
at::Tensor batch_scores(const at::Tensor& bias, const at::Tensor& queries, const at::Tensor& rows, bool inner_product);
/// Brings scores that may be NaN or infinite into the finite range, in place, so that +inf can mean "no row". An
/// overflow makes no row better or worse than others that matter: nothing is discarded by such scores.
void make_finite(at::Tensor& scores);
/// The `width` smallest scores of each row of the matrix (all when there are fewer), ascending if `sorted`.
Candidates select(const at::Tensor& scores, const at::Tensor& positions, std::int64_t width, bool sorted);
/// The best of both.
Candidates merge(const Candidates& a, const Candidates& b, std::int64_t width);

/// Lists of a batch as they count: sizes of what is scanned of each (n x nprobe), cut by max_codes in probe order.
struct ProbedLists {
  at::Tensor starts;  ///< Positions of the lists' first rows.
  at::Tensor sizes;
  at::Tensor ends;  ///< Sums of the sizes up to and with each.
};
ProbedLists probed_lists(const DeviceCorpus& corpus, const Batch& batch);

}  // namespace ivf::detail::torch_backend

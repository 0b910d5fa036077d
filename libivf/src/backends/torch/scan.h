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

/// The score of what is not there.
inline constexpr float infinity = std::numeric_limits<float>::infinity();

/// Lists of a batch as they count: what is scanned of each (n x nprobe), cut by max_codes in probe order.
struct ProbedLists {
  at::Tensor starts;  ///< Positions of the lists' first rows.
  at::Tensor sizes;
  at::Tensor groups;  ///< Groups of rows in each.
  at::Tensor ends;    ///< Sums of the groups up to and with each.
};

/// Queries on the device, and what they look at.
struct Batch {
  at::Tensor queries;        ///< n x d
  at::Tensor lists;          ///< n x nprobe, int64, in probe order, -1: none. Undefined: every row of the corpus.
  ProbedLists probed;        ///< Of `lists`, from probe_lists().
  std::int64_t widest = -1;  ///< Most groups that a query looks at in its lists; -1: not known on the host.
  std::uint64_t max_codes = 0;
  bool wild =
      false;  ///< Products may overflow: a score may be anything, and only rows that are no candidates are +inf.

  std::int64_t count() const { return queries.size(0); }
  std::int64_t nprobe() const { return lists.size(1); }
  /// Groups that each query looks at in its lists: n.
  at::Tensor totals() const { return probed.ends.select(1, nprobe() - 1); }
  /// Queries [first, first + n), of which each looks at `most` rows at most (-1: not known).
  Batch slice(std::int64_t first, std::int64_t n, std::int64_t most) const;
};

/// Sets what a batch looks at. `complete` says that no list is -1.
void probe_lists(const DeviceCorpus& corpus, at::Tensor lists, bool complete, Batch& batch);

/// Scores of rows, n x columns; +inf: no row, or none that the search may find. Where the rows lie is said in one of
/// three ways.
struct Candidates {
  at::Tensor scores;
  at::Tensor positions{};  ///< Of each row, n x columns.
  at::Tensor starts{};     ///< Of each group, n x columns / group_rows.
  std::int64_t first = 0;  ///< With neither: column i is row first + i.

  /// Positions of chosen columns (n x any).
  at::Tensor positions_at(const at::Tensor& columns) const;
};

/// What a filter leaves of the rows that a batch looks at.
struct Selection {
  Candidates best;          ///< Ascending.
  at::Tensor bound;         ///< n: no row that was left out has a lower score. +inf: none was.
  bool everything = false;  ///< No row of any query was left out.
};

struct ScanLimits {
  std::int64_t width;    ///< Candidates a query at most.
  std::uint64_t memory;  ///< Bytes of working tensors.
};

/// Per query: all rows of its lists (or of the corpus) in one matrix of candidates, in pieces that fit the memory, and
/// one selection from each.
Selection scan_matrix(const DeviceCorpus& corpus, const Batch& batch, const ScanLimits& limits, SearchStats& stats);
/// Per list: the queries that probe it are multiplied with its rows, lists of similar size at once. Of the products
/// only the smallest of every few rows is kept; the rows of the best such groups of a query are multiplied once more.
Selection scan_csr(const DeviceCorpus& corpus, const Batch& batch, const ScanLimits& limits, SearchStats& stats);

/// Scores and positions of every row that each query looks at, piece by piece: visit(candidates).
void for_scores(const DeviceCorpus& corpus, const Batch& batch, std::uint64_t memory, SearchStats& stats,
                const std::function<void(const Candidates&)>& visit);

/// Scores of the rows of groups for each query (n x groups): those that start at `starts` and of which `left` are
/// there.
Candidates group_scores(const DeviceCorpus& corpus, const at::Tensor& queries, const at::Tensor& starts,
                        const at::Tensor& left, bool wild);
/// Brings scores that may be NaN or infinite into the finite range, in place, so that +inf can mean "no row". An
/// overflow makes no row better or worse than others that matter: nothing is discarded by such scores.
void make_finite(at::Tensor& scores);
/// Makes scores of rows with an infinite bias +inf again, in place, where an overflow has hidden it.
void hide(at::Tensor& scores, const at::Tensor& bias);
/// The `width` smallest scores of each row of the matrix (all when there are fewer), ascending.
Candidates select(const Candidates& all, std::int64_t width);

}  // namespace ivf::detail::torch_backend

#pragma once
/// \file
/// The queries of one job: what the bounds need of each, the candidates found so far, and the threshold that they set.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/bounds.h"
#include "backends/cpu/kernels.h"
#include "buffer.h"
#include "topk/candidates.h"

namespace ivf::detail::cpu {

/// Queries [first, last) of a request. limit(), lower_limit() and add() may be called by many threads at once, for any
/// queries; the rest belongs to one thread a query.
class QueryPool {
 public:
  /// k results a query; k = 0: everything with a score below the fixed `limit` (range search).
  QueryPool(const Kernels& kernels, const ScanRequest& request, std::size_t first, std::size_t last, std::size_t k,
            float limit);

  /// Bytes a query takes, for splitting batches.
  static std::size_t bytes_per_query(std::size_t k) noexcept;

  std::size_t size() const noexcept { return states_.size(); }
  const QueryNorms& norms(std::size_t query) const noexcept { return states_[query].norms; }
  /// Scores above it cannot be results.
  float limit(std::size_t query) const noexcept { return states_[query].limit.load(std::memory_order_relaxed); }
  void lower_limit(std::size_t query, float limit) noexcept;
  /// Fetches what norms() and limit() read.
  void prefetch_state(std::size_t query) const noexcept { __builtin_prefetch(&states_[query], 1); }
  /// Fetches what add() writes besides.
  void prefetch_candidates(std::size_t query) const noexcept;
  void add(std::uint32_t query, const Candidate* candidates, std::size_t count, SearchStats& stats);

  /// Drops what cannot be a result, before finish() or finish_set().
  void settle(std::size_t query);
  /// After settle(): fetches the rows that finish() will read.
  void prefetch_rows(std::size_t query) const noexcept;
  /// Re-computes what is left and returns it sorted, at most k.
  void finish(std::size_t query, std::vector<Hit>& hits, SearchStats& stats);
  /// The same k rows in the order of their scores' lower bounds, which stand for the scores; re-computes only rows in
  /// doubt.
  void finish_set(std::size_t query, std::vector<Hit>& hits, SearchStats& stats);

 private:
  /// A number that changes under a lock only, and may be read without it where an old value does no harm.
  class Hint {
   public:
    operator std::uint32_t() const noexcept { return value_.load(std::memory_order_relaxed); }
    Hint& operator=(std::uint32_t value) noexcept {
      value_.store(value, std::memory_order_relaxed);
      return *this;
    }

   private:
    std::atomic<std::uint32_t> value_{0};
  };

  struct alignas(64) QueryState {
    std::atomic<float> limit;
    std::atomic<bool> locked{false};
    Hint count;                   ///< Candidates kept.
    std::uint32_t best_size = 0;  ///< Upper bounds in best_: the k smallest so far.
    QueryNorms norms;
  };

  void prepare(std::size_t query);
  static void lower_locked(QueryState& state, float limit) noexcept;
  void make_room(QueryState& state, Candidate* candidates, std::uint32_t query, SearchStats& stats);
  void refine(std::size_t query, Candidate* candidates, std::size_t count, SearchStats& stats);
  /// The candidates in the order of results.
  void sort_hits(const Candidate* candidates, std::size_t count, std::vector<Hit>& hits) const;
  Candidate* candidates_of(std::size_t query) noexcept {
    return k_ == 0 ? everything_[query].data() : pool_.data() + query * capacity_;
  }
  std::size_t segment_of(std::uint64_t position) const noexcept;
  idx_t id_of(std::uint64_t position) const noexcept;

  const Kernels& kernels_;
  const ScanRequest& request_;
  const Corpus& corpus_;
  std::size_t first_;  ///< Of the request's queries.
  std::size_t k_;
  float fixed_limit_;
  std::size_t capacity_;  ///< Candidates a query keeps before the hopeless ones are dropped.
  std::vector<QueryState> states_;
  Buffer<Candidate> pool_;
  Buffer<float> best_;                              ///< k a query: see Smallest.
  std::vector<std::vector<Candidate>> everything_;  ///< Of a range search.
  std::vector<std::uint64_t> segment_start_;        ///< Of each segment, in positions over all of them.
};

}  // namespace ivf::detail::cpu

#include "backends/cpu/query_pool.h"

#include <algorithm>

#include "backends/cpu/bounds.h"
#include "parallel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ivf::detail::cpu {
namespace {

constexpr std::size_t line_bytes = 64;

std::size_t candidate_capacity(std::size_t k) { return k + std::max<std::size_t>(k, 64); }

void fetch(const void* begin, std::size_t bytes) {
  const char* at = static_cast<const char*>(begin);
  for (std::size_t b = 0; b < bytes; b += line_bytes) __builtin_prefetch(at + b);
}

/// Keys to sort by, kept by each thread.
std::vector<float>& scratch_keys() {
  thread_local std::vector<float> keys;
  return keys;
}

/// Holds a query's lock: a few dozen instructions, so spinning is right.
class SpinGuard {
 public:
  explicit SpinGuard(std::atomic<bool>& flag) : flag_(flag) {
    while (flag_.exchange(true, std::memory_order_acquire)) {
      while (flag_.load(std::memory_order_relaxed)) {
#if defined(__x86_64__)
        _mm_pause();
#endif
      }
    }
  }
  SpinGuard(const SpinGuard&) = delete;
  SpinGuard& operator=(const SpinGuard&) = delete;
  ~SpinGuard() { flag_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool>& flag_;
};

}  // namespace

QueryPool::QueryPool(const Kernels& kernels, const ScanRequest& request, std::size_t first, std::size_t last,
                     std::size_t k, float limit)
    : kernels_(kernels),
      request_(request),
      corpus_(*request.corpus),
      first_(first),
      k_(k),
      fixed_limit_(limit),
      capacity_(candidate_capacity(k)),
      states_(last - first) {
  if (k_ > 0) {
    pool_ = Buffer<Candidate>(states_.size() * capacity_);
    best_ = Buffer<float>(states_.size() * k_);
  } else {
    everything_.resize(states_.size());
  }
  std::uint64_t start = 0;
  for (const auto& segment : corpus_.segments) {
    segment_start_.push_back(start);
    start += segment.rows;
  }
  parallel_for(request_.threads, states_.size(), 256, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t q = begin; q < end; ++q) prepare(q);
  });
}

std::size_t QueryPool::bytes_per_query(std::size_t k) noexcept {
  return sizeof(QueryState) + (k == 0 ? sizeof(std::vector<Candidate>) : 0) +
         candidate_capacity(k) * sizeof(Candidate) + k * sizeof(float);
}

void QueryPool::prepare(std::size_t query) {
  const float* x = request_.queries.row(first_ + query);
  QueryState& state = states_[query];
  double square = 0, residual = 0;
  kernels_.rows->residual(x, corpus_.dim, &residual, &square);
  state.norms = query_norms(square, kernels_.scan->rounds_queries ? residual : 0.0, corpus_.dim);
  state.limit.store(k_ == 0 ? fixed_limit_ : infinity, std::memory_order_relaxed);
}

void QueryPool::lower_locked(QueryState& state, float limit) noexcept {
  if (limit < state.limit.load(std::memory_order_relaxed)) state.limit.store(limit, std::memory_order_relaxed);
}

void QueryPool::lower_limit(std::size_t query, float limit) noexcept {
  const SpinGuard guard(states_[query].locked);
  lower_locked(states_[query], limit);
}

void QueryPool::prefetch_candidates(std::size_t query) const noexcept {
  if (k_ == 0) return;
  __builtin_prefetch(pool_.data() + query * capacity_ + states_[query].count, 1);
  // Of a large heap the top; the rest is reached along one path only.
  const char* best = reinterpret_cast<const char*>(best_.data() + query * k_);
  __builtin_prefetch(best, 1);
  __builtin_prefetch(best + line_bytes, 1);
}

void QueryPool::add(std::uint32_t query, const Candidate* candidates, std::size_t count, SearchStats& stats) {
  QueryState& state = states_[query];
  const SpinGuard guard(state.locked);
  if (k_ == 0) {
    everything_[query].insert(everything_[query].end(), candidates, candidates + count);
    return;
  }
  Candidate* pool = pool_.data() + query * capacity_;
  Smallest best(best_.data() + query * k_, k_, state.best_size);
  float limit = state.limit.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < count; ++i) {
    const Candidate& candidate = candidates[i];
    if (candidate.lower > limit) continue;
    if (state.count == capacity_) {
      make_room(state, pool, query, stats);
      limit = state.limit.load(std::memory_order_relaxed);
      if (candidate.lower > limit) continue;
    }
    pool[state.count] = candidate;
    state.count = state.count + 1;
    best.push(candidate.upper);
    if (best.full()) limit = std::min(limit, best.kth());
  }
  lower_locked(state, limit);
}

void QueryPool::make_room(QueryState& state, Candidate* candidates, std::uint32_t query, SearchStats& stats) {
  Smallest best(best_.data() + query * k_, k_, state.best_size);
  if (best.full()) lower_locked(state, best.kth());
  std::size_t left = drop_above(candidates, state.count, state.limit.load(std::memory_order_relaxed));
  if (left > capacity_ - capacity_ / 8) {
    // The bounds do not tell the rows apart: decide canonically, and keep k.
    refine(query, candidates, left, stats);
    std::nth_element(candidates, candidates + (k_ - 1), candidates + left,
                     [this](const Candidate& a, const Candidate& b) {
                       return a.lower != b.lower ? a.lower < b.lower : id_of(a.position()) < id_of(b.position());
                     });
    left = k_;
    state.best_size = 0;
    for (std::size_t i = 0; i < k_; ++i) best.push(candidates[i].upper);
    lower_locked(state, best.kth());
  }
  state.count = static_cast<std::uint32_t>(left);
}

std::size_t QueryPool::segment_of(std::uint64_t position) const noexcept {
  return static_cast<std::size_t>(std::upper_bound(segment_start_.begin(), segment_start_.end(), position) -
                                  segment_start_.begin()) -
         1;
}

idx_t QueryPool::id_of(std::uint64_t position) const noexcept {
  const std::size_t s = segment_of(position);
  const auto& ids = corpus_.segments[s].ids;
  return ids.empty() ? static_cast<idx_t>(position) : ids[position - segment_start_[s]];
}

void QueryPool::refine(std::size_t query, Candidate* candidates, std::size_t count, SearchStats& stats) {
  constexpr std::size_t batch = 64;
  std::uint64_t rows[batch];
  float values[batch];
  Candidate* wanted[batch];
  // Rows of one segment stay together; with several, order by position.
  if (corpus_.segments.size() > 1) {
    std::sort(candidates, candidates + count,
              [](const Candidate& a, const Candidate& b) { return a.position() < b.position(); });
  }
  const auto flush = [&](std::size_t segment, std::size_t n) {
    const auto& planes = corpus_.segments[segment].planes;
    const RefineArgs args{request_.queries.row(first_ + query),
                          planes.hi.data(),
                          planes.lo.empty() ? nullptr : planes.lo.data(),
                          corpus_.dim,
                          rows,
                          n,
                          values};
    (corpus_.inner_product ? kernels_.rows->refine_ip : kernels_.rows->refine_l2)(&args);
    for (std::size_t i = 0; i < n; ++i) {
      wanted[i]->lower = wanted[i]->upper = corpus_.inner_product ? -values[i] : values[i];
      wanted[i]->row |= Candidate::exact_bit;
    }
    stats.rows_refined += n;
  };
  std::size_t n = 0, current = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (candidates[i].exact()) continue;
    const std::uint64_t position = candidates[i].position();
    const std::size_t segment = segment_of(position);
    if (n == batch || (n > 0 && segment != current)) {
      flush(current, n);
      n = 0;
    }
    current = segment;
    rows[n] = position - segment_start_[segment];
    wanted[n++] = &candidates[i];
  }
  if (n > 0) flush(current, n);
}

void QueryPool::settle(std::size_t query) {
  if (k_ == 0) return;
  QueryState& state = states_[query];
  Candidate* candidates = candidates_of(query);
  state.count =
      static_cast<std::uint32_t>(drop_above(candidates, state.count, state.limit.load(std::memory_order_relaxed)));
}

void QueryPool::prefetch_rows(std::size_t query) const noexcept {
  if (k_ == 0) return;
  const Candidate* candidates = pool_.data() + query * capacity_;
  // Two queries' rows should fit a first-level cache; the lines of longer ones are followed by the hardware.
  constexpr std::size_t fetched_bytes = 512, fetched_rows = 64;
  const std::size_t bytes = std::min(corpus_.dim * sizeof(std::uint16_t), fetched_bytes);
  for (std::size_t i = 0; i < states_[query].count && i < fetched_rows; ++i) {
    const std::uint64_t position = candidates[i].position();
    const std::size_t s = segment_of(position);
    const auto& segment = corpus_.segments[s];
    const std::uint64_t row = position - segment_start_[s];
    if (!segment.ids.empty()) __builtin_prefetch(segment.ids.data() + row);
    if (candidates[i].exact()) continue;
    fetch(segment.planes.hi.data() + row * corpus_.dim, bytes);
    if (!segment.planes.lo.empty()) fetch(segment.planes.lo.data() + row * corpus_.dim, bytes);
  }
}

void QueryPool::sort_hits(const Candidate* candidates, std::size_t count, std::vector<Hit>& hits) const {
  hits.resize(count);
  std::vector<float>& keys = scratch_keys();
  keys.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    keys[i] = candidates[i].lower;
    hits[i] = {candidates[i].lower, id_of(candidates[i].position())};
  }
  sort_by_keys(keys.data(), hits.data(), count);
  // Equal scores are in the order of their ids.
  for (std::size_t i = 1; i < count; ++i) {
    if (keys[i] != keys[i - 1]) continue;
    std::size_t end = i + 1;
    while (end < count && keys[end] == keys[i]) ++end;
    std::sort(hits.begin() + static_cast<std::ptrdiff_t>(i - 1), hits.begin() + static_cast<std::ptrdiff_t>(end));
    i = end;
  }
}

void QueryPool::finish(std::size_t query, std::vector<Hit>& hits, SearchStats& stats) {
  Candidate* candidates = candidates_of(query);
  std::size_t count = k_ == 0 ? everything_[query].size() : states_[query].count;
  refine(query, candidates, count, stats);
  if (k_ == 0) {
    const float limit = fixed_limit_;
    count = static_cast<std::size_t>(
        std::remove_if(candidates, candidates + count, [limit](const Candidate& c) { return !(c.lower < limit); }) -
        candidates);
  }
  sort_hits(candidates, count, hits);
  if (k_ != 0 && hits.size() > k_) hits.resize(k_);
}

void QueryPool::finish_set(std::size_t query, std::vector<Hit>& hits, SearchStats& stats) {
  Candidate* candidates = candidates_of(query);
  std::size_t count = states_[query].count;
  if (count > k_) {
    std::vector<float>& keys = scratch_keys();
    keys.resize(count);
    for (std::size_t i = 0; i < count; ++i) keys[i] = candidates[i].lower;
    sort_by_keys(keys.data(), candidates, count);
    const float outside = candidates[k_].lower;
    // Fewer than k rows can be better than one whose upper bound lies below the (k+1)-th lower bound: it belongs to the
    // set.
    Candidate* doubtful =
        std::partition(candidates, candidates + count, [&](const Candidate& c) { return c.upper < outside; });
    const auto certain = static_cast<std::size_t>(doubtful - candidates);
    refine(query, doubtful, count - certain, stats);
    std::nth_element(doubtful, candidates + k_, candidates + count, [this](const Candidate& a, const Candidate& b) {
      return a.lower != b.lower ? a.lower < b.lower : id_of(a.position()) < id_of(b.position());
    });
    count = k_;
  }
  sort_hits(candidates, count, hits);
}

}  // namespace ivf::detail::cpu

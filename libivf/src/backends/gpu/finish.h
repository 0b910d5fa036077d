#pragma once
/// \file
/// Ending a query: the limit that the k-th smallest upper bound sets, the survivors within it, their canonical values,
/// and the sorted results. Done by one team; included by the kernels that need it.

#include "backends/gpu/bounds.h"
#include "backends/gpu/plan.h"
#include "backends/gpu/team.h"

#if defined(IVF_DEVICE_CODE)

namespace ivf::detail::gpu {

/// Shared memory of a team that ends a query.
struct FinishShared {
  std::int64_t* ids;    ///< capacity
  double* query;        ///< d rounded up to 8, zeros at the end
  unsigned* keys;       ///< capacity
  std::uint32_t* rows;  ///< capacity
  std::uint32_t* cums;  ///< nprobe + 1: the first score of each segment
  float* errors;        ///< nprobe: twice E
  float* scores;        ///< cached_scores: those of the query, when find_limit() has read them
};

IVF_HD inline unsigned segments_of(const FinishArgs& a) { return a.segments.nprobe == 0 ? 1 : a.segments.nprobe; }
IVF_HD inline unsigned padded_dims(const FinishArgs& a) { return (a.corpus.d + 7) / 8 * 8; }

IVF_HD inline std::size_t shared_bytes(const FinishArgs& a) {
  const std::size_t bytes = a.capacity * 16ull + padded_dims(a) * 8ull + segments_of(a) * 8ull + 4;
  return (bytes + 15) / 16 * 16 + a.cached_scores * sizeof(float);
}

__device__ inline FinishShared carve(const FinishArgs& a, char* memory) {
  FinishShared s;
  s.ids = reinterpret_cast<std::int64_t*>(memory);
  s.query = reinterpret_cast<double*>(s.ids + a.capacity);
  s.keys = reinterpret_cast<unsigned*>(s.query + padded_dims(a));
  s.rows = s.keys + a.capacity;
  s.cums = s.rows + a.capacity;
  s.errors = reinterpret_cast<float*>(s.cums + segments_of(a) + 1);
  s.scores = reinterpret_cast<float*>(memory + shared_bytes(a)) - a.cached_scores;
  return s;
}

/// What scratch of a fixed size the team shares besides.
struct FinishScratch {
  TeamScratch team;
  unsigned found;    ///< Survivors.
  unsigned refined;  ///< Rows re-computed by brute force.
  unsigned error;    ///< Bits of the largest of `errors`.
};

template <class Group>
__device__ void load_query(const FinishArgs& a, std::uint32_t q, const FinishShared& s) {
  const float* from = a.queries + static_cast<std::size_t>(q) * a.query_stride;
  for (unsigned i = Group::rank(); i < padded_dims(a); i += Group::threads)
    s.query[i] = i < a.corpus.d ? static_cast<double>(from[i]) : 0.0;
}

/// Segments of a query in shared memory; needs a barrier after it. x.error must have been cleared before another one.
template <class Group>
__device__ void load_segments(const FinishArgs& a, const QueryInfo& info, std::uint32_t q, const FinishShared& s,
                              FinishScratch& x) {
  const Segments& g = a.segments;
  if (g.nprobe == 0) {
    if (Group::rank() == 0) {
      s.cums[0] = 0;
      s.cums[1] = g.whole_rows;
      s.errors[0] = 2 * score_error(info, a.corpus.residuals[0], a.corpus.norms[0], a.corpus.inner_product);
      x.error = __float_as_uint(s.errors[0]);
    }
    return;
  }
  const std::uint32_t* cums = g.cums + static_cast<std::size_t>(q) * (g.nprobe + 1);
  const std::int32_t* lists = g.lists + static_cast<std::size_t>(q) * g.nprobe;
  for (unsigned r = Group::rank(); r <= g.nprobe; r += Group::threads) {
    s.cums[r] = cums[r];
    if (r == g.nprobe) break;
    const std::int32_t list = lists[r];
    if (list < 0) {
      s.errors[r] = 0;
      continue;
    }
    s.errors[r] = 2 * score_error(info, a.corpus.residuals[list], a.corpus.norms[list], a.corpus.inner_product);
    atomicMax(&x.error, __float_as_uint(s.errors[r]));  // Bits of NaN are above all others.
  }
}

/// First row of the segment of a rank.
__device__ inline std::uint32_t segment_begin(const FinishArgs& a, std::uint32_t q, std::uint32_t rank) {
  if (a.segments.nprobe == 0) return 0;
  return a.corpus.begins[a.segments.lists[static_cast<std::size_t>(q) * a.segments.nprobe + rank]];
}

/// The segment that holds score i: the last that begins at or before it.
__device__ inline unsigned segment_with(const std::uint32_t* begins, unsigned count, std::uint32_t i) {
  unsigned low = 0, high = count - 1;
  while (low < high) {
    const unsigned middle = (low + high + 1) / 2;
    if (begins[middle] <= i) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

/// Where a lane finds its share of a row and of the query.
struct RowShare {
  const unsigned *hi, *lo;  ///< Two values each; lo null: all zero.
  const double* query;
  unsigned flip;  ///< Blocks alternate between the row's two halves: which comes first.
};

/// Adds the next `together` times eight dimensions to the partial sums; all loads are on their way before the first is
/// used.
template <bool inner_product, unsigned together>
__device__ inline void add_eights(const RowShare& r, double& even, double& odd) {
  unsigned high[together], low[together];
#pragma unroll
  for (unsigned s = 0; s < together; ++s) {
    const unsigned at = (s >> 1) * (block_values / 2) + ((s & 1) << 2 ^ r.flip);
    high[s] = r.hi[at];
    low[s] = r.lo != nullptr ? r.lo[at] : 0u;
  }
#pragma unroll
  for (unsigned s = 0; s < together; ++s) {
    const auto first = static_cast<unsigned>(static_cast<int>(static_cast<std::int16_t>(low[s])));
    const auto second = static_cast<unsigned>(static_cast<int>(low[s]) >> 16);
    const double x0 = __uint_as_float((high[s] << 16) + first), x1 = __uint_as_float((high[s] & 0xffff0000u) + second);
    const double q0 = r.query[s * 8], q1 = r.query[s * 8 + 1];
    if constexpr (inner_product) {
      even = fma(q0, x0, even);
      odd = fma(q1, x1, odd);
    } else {
      const double t0 = q0 - x0, t1 = q1 - x1;
      even = fma(t0, t0, even);
      odd = fma(t1, t1, odd);
    }
  }
}

template <bool inner_product>
__device__ inline void add_row(RowShare r, unsigned eights, double& even, double& odd) {
  constexpr unsigned many = 16, few = 2;
  const auto advance = [&r](unsigned count) {
    r.hi += count / 2 * (block_values / 2);
    if (r.lo != nullptr) r.lo += count / 2 * (block_values / 2);
    r.query += count * 8;
  };
#pragma unroll 1
  for (; eights >= many; eights -= many) {
    add_eights<inner_product, many>(r, even, odd);
    advance(many);
  }
#pragma unroll 1
  for (; eights >= few; eights -= few) {
    add_eights<inner_product, few>(r, even, odd);
    advance(few);
  }
  if (eights != 0) add_eights<inner_product, 1>(r, even, odd);
}

/// The canonical score of a row as ordered bits, by four lanes, of which number `pair` keeps the partial sums 2 * pair
/// and 2 * pair + 1 of the eight. All lanes of the warp call; those of `active` false get anything.
__device__ inline unsigned canonical_key(const CorpusView& c, const double* query, std::uint32_t row, unsigned pair,
                                         bool active) {
  double even = 0, odd = 0;
  if (active) {
    const unsigned r = row % group_rows, eights = (c.d + 7) / 8;
    const std::size_t base =
        static_cast<std::size_t>(row / group_rows) * c.steps * (block_values / 2) + r * (step_dims / 2) + pair;
    const RowShare share{reinterpret_cast<const unsigned*>(c.hi) + base,
                         c.lo == nullptr ? nullptr : reinterpret_cast<const unsigned*>(c.lo) + base, query + pair * 2,
                         (r >> 2) << 2};
    if (c.inner_product) {
      add_row<true>(share, eights, even, odd);
    } else {
      add_row<false>(share, eights, even, odd);
    }
  }
  // (0 + 4) + (2 + 6) and (1 + 5) + (3 + 7), then both.
  even += shuffle_xor(even, 2);
  odd += shuffle_xor(odd, 2);
  even += shuffle_xor(even, 1);
  odd += shuffle_xor(odd, 1);
  const float value = __double2float_rn(even + odd);
  return ordered((c.inner_product ? -value : value) + 0.0f);
}

/// Keys and ids of rows[first .. first + count) in shared memory, canonically.
template <class Group>
__device__ void refine(const FinishArgs& a, const FinishShared& s, unsigned first, unsigned count) {
  const unsigned pair = Group::rank() % 4;
  for (unsigned begin = 0; begin < count; begin += Group::threads / 4) {
    const unsigned i = begin + Group::rank() / 4;
    const bool active = i < count;
    const std::uint32_t row = active ? s.rows[first + i] : 0;
    const std::int64_t id = active && pair == 0 ? a.corpus.ids[row] : 0;
    const unsigned key = canonical_key(a.corpus, s.query, row, pair, active);
    if (active && pair == 0) {
      s.keys[first + i] = key;
      s.ids[first + i] = id;
    }
  }
}

/// All rows of the query re-computed canonically, the best k in front; returns how many there are. What is done when
/// bounds do not tell enough rows apart for the survivors to fit.
template <class Group>
__device__ __attribute__((noinline)) unsigned brute_force(const FinishArgs& a, std::uint32_t q, const FinishShared& s,
                                                          FinishScratch& x) {
  const Ranked ranked{s.keys, s.ids};
  unsigned kept = 0;
  if (Group::rank() == 0) x.refined = 0;
  for (std::uint32_t rank = 0; rank < segments_of(a); ++rank) {
    const std::uint32_t rows = s.cums[rank + 1] - s.cums[rank];
    if (rows == 0) continue;
    const std::uint32_t begin = segment_begin(a, q, rank);
    for (std::uint32_t row = 0; row < rows;) {
      if (kept > a.capacity / 2) {
        sort<Group>(ranked, kept);
        kept = min(kept, a.k);
      }
      const unsigned count = min(rows - row, a.capacity - kept);
      Group::sync();
      if (Group::rank() == 0) x.found = kept;
      Group::sync();
      for (unsigned i = Group::rank(); i < count; i += Group::threads) {
        const std::uint32_t at = begin + row + i;
        // Places without a row take no part.
        if (a.corpus.ids[at] != -1) s.rows[atomicAdd(&x.found, 1u)] = at;
      }
      Group::sync();
      const unsigned found = x.found;
      refine<Group>(a, s, kept, found - kept);
      if (Group::rank() == 0) x.refined += found - kept;
      kept = found;
      row += count;
      Group::sync();
    }
  }
  sort<Group>(ranked, kept);
  return min(kept, a.k);
}

/// Calls visit(number, i, upper) for the first n of a query's scores, four at a time and several fours on their way:
/// scores in device memory, which are copied to `cache` if that is not null, or with `cached` those in the cache.
template <class Group, int fours, bool cached, class Visit>
__device__ void visit_scores(const float* scores, float* cache, unsigned n, Visit visit) {
  for (unsigned first = Group::rank() * 4; first < n; first += Group::threads * 4 * fours) {
    float4 four[fours];
#pragma unroll
    for (int i = 0; i < fours; ++i) {
      const unsigned at = first + i * Group::threads * 4;
      // The stride of the scores is a multiple of four: what is read past the last one belongs to the query.
      if (at >= n) continue;
      if constexpr (cached) {
        four[i] = *reinterpret_cast<const float4*>(cache + at);
      } else {
        four[i] = load_fresh(reinterpret_cast<const float4*>(scores + at));
      }
    }
#pragma unroll
    for (int i = 0; i < fours; ++i) {
      const unsigned at = first + i * Group::threads * 4;
      if (at >= n) continue;
      if (!cached && cache != nullptr) *reinterpret_cast<float4*>(cache + at) = four[i];
      visit(i * 4, at, four[i].x);
      if (at + 1 < n) visit(i * 4 + 1, at + 1, four[i].y);
      if (at + 2 < n) visit(i * 4 + 2, at + 2, four[i].z);
      if (at + 3 < n) visit(i * 4 + 3, at + 3, four[i].w);
    }
  }
}

/// An upper bound of the k-th smallest upper bound. Of the rows that share a slot only the best counts: rows of
/// different slots are different, so that the k-th smallest of the slots bounds k rows, and is hardly larger.
template <class Group, int slots>
__device__ float find_limit(const FinishArgs& a, std::uint32_t q, const FinishShared& s, unsigned n, FinishScratch& x) {
  float best[slots];
#pragma unroll
  for (int i = 0; i < slots; ++i) best[i] = INFINITY;
  // fminf passes over NaN, which stands for a row without bounds.
  if (a.scores != nullptr) {
    visit_scores<Group, Group::threads == warp_lanes ? 4 : 8, false>(
        a.scores + static_cast<std::size_t>(q) * a.score_stride, a.cached_scores == 0 ? nullptr : s.scores, n,
        [&](int number, unsigned, float upper) { best[number % slots] = fminf(best[number % slots], upper); });
  } else {
    const float2* bounds = a.candidates.bounds + static_cast<std::size_t>(q) * a.candidates.capacity;
    for (unsigned first = Group::rank(); first < n; first += Group::threads * slots) {
#pragma unroll
      for (int i = 0; i < slots; ++i) {
        const unsigned at = first + i * Group::threads;
        if (at < n) best[i] = fminf(best[i], bounds[at].y);
      }
    }
  }
  return kth_smallest<Group>(best, a.k, x.team);
}

/// Calls keep(i, upper) for the scores of a query that may lie within the limit, whatever their lists. Most exceed it
/// by more than the error of any list; what is kept is looked at again, by all threads of the team.
template <class Group, class Keep>
__device__ void visit_within(const FinishArgs& a, std::uint32_t q, const FinishShared& s, unsigned n, float limit,
                             const FinishScratch& x, Keep keep) {
  const float loose = __double2float_ru(static_cast<double>(limit) + static_cast<double>(__uint_as_float(x.error)));
  const auto visit = [&](int, unsigned i, float upper) {
    if (!(upper > loose)) keep(i, upper);
  };
  if (a.cached_scores != 0) {
    visit_scores<Group, 4, true>(nullptr, s.scores, n, visit);  // A thread finds there what it wrote itself.
  } else {
    visit_scores<Group, 4, false>(a.scores + static_cast<std::size_t>(q) * a.score_stride, nullptr, n, visit);
  }
}

/// A score's row and bounds.
struct Candidate {
  float lower, upper;
  std::uint32_t row;
};
__device__ inline Candidate candidate_of(const FinishArgs& a, std::uint32_t q, const FinishShared& s, unsigned i,
                                         float upper) {
  const unsigned rank = segment_with(s.cums, segments_of(a), i);
  return {upper - s.errors[rank], upper, segment_begin(a, q, rank) + (i - s.cums[rank])};
}

/// Bounds as one number, for lists in shared memory.
__device__ inline std::int64_t packed(float lower, float upper) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(__float_as_uint(upper)) << 32 | __float_as_uint(lower));
}
__device__ inline float lower_of(std::int64_t bounds) {
  return __uint_as_float(static_cast<unsigned>(static_cast<std::uint64_t>(bounds)));
}
__device__ inline float upper_of(std::int64_t bounds) {
  return __uint_as_float(static_cast<unsigned>(static_cast<std::uint64_t>(bounds) >> 32));
}

/// The candidates of a query within the limit: their rows in s.rows, their bounds in s.ids; returns how many there are,
/// more than there is room for if some are lost.
template <class Group>
__device__ unsigned collect(const FinishArgs& a, std::uint32_t q, const FinishShared& s, unsigned n, float limit,
                            FinishScratch& x) {
  if (Group::rank() == 0) x.found = 0;
  Group::sync();
  // Places without a row have infinite bounds, or none.
  const auto no_row = [&](float lower, std::uint32_t row) {
    return !(lower > -INFINITY && limit < INFINITY) && a.corpus.ids[row] == -1;
  };
  const auto put = [&](std::uint32_t row, std::int64_t bounds) {
    const unsigned place = atomicAdd(&x.found, 1u);
    if (place >= a.capacity) return;
    s.rows[place] = row;
    s.ids[place] = bounds;
  };
  if (a.scores == nullptr) {
    const std::size_t base = static_cast<std::size_t>(q) * a.candidates.capacity;
    for (unsigned i = Group::rank(); i < n; i += Group::threads) {
      const float2 bounds = a.candidates.bounds[base + i];
      if (bounds.x > limit) continue;
      const std::uint32_t row = a.candidates.rows[base + i];
      if (!no_row(bounds.x, row)) put(row, packed(bounds.x, bounds.y));
    }
    Group::sync();
    return x.found;
  }
  visit_within<Group>(a, q, s, n, limit, x, [&](unsigned i, float upper) { put(i, packed(0, upper)); });
  Group::sync();
  const unsigned found = x.found;
  Group::sync();
  if (found > a.capacity) return found;
  if (Group::rank() == 0) x.found = 0;
  // Each step reads a team's worth before it writes at most as many, at or before where they were read.
  for (unsigned first = 0; first < found; first += Group::threads) {
    const unsigned i = first + Group::rank();
    Candidate c{INFINITY, INFINITY, 0};
    if (i < found) c = candidate_of(a, q, s, s.rows[i], upper_of(s.ids[i]));
    Group::sync();
    if (i < found && !(c.lower > limit) && !no_row(c.lower, c.row)) put(c.row, packed(c.lower, c.upper));
    Group::sync();
  }
  return x.found;
}

/// The number of candidates of a query; more than there is room for: `overflow`.
__device__ inline unsigned candidate_count(const FinishArgs& a, std::uint32_t q, const FinishShared& s,
                                           bool& overflow) {
  overflow = false;
  if (a.scores != nullptr) return min(s.cums[segments_of(a)], a.score_rows);
  const std::uint32_t count = a.candidates.counts[q];
  overflow = count > a.candidates.capacity;
  return count;
}

/// Writes the results of query q, `kept` of which are sorted in shared memory.
template <class Group>
__device__ void write_results(const FinishArgs& a, std::uint32_t q, const FinishShared& s, unsigned kept) {
  for (unsigned i = Group::rank(); i < a.k; i += Group::threads) {
    const bool found = i < kept;
    const std::size_t to = static_cast<std::size_t>(q) * a.k + i;
    const float score = found ? unordered(s.keys[i]) : INFINITY;
    if (a.values != nullptr) a.values[to] = a.corpus.inner_product ? 0.0f - score : score;
    if (a.ids != nullptr) a.ids[to] = found ? s.ids[i] : -1;
    if (a.lists != nullptr) a.lists[to] = found ? static_cast<std::int32_t>(s.ids[i]) : -1;
  }
  if (!a.plan) return;
  Group::sync();
  if (Group::rank() < warp_lanes) plan_query(a.next, q);
}

/// The bounds of a row of a corpus that is one list, by its own norm where that is known.
__device__ inline float2 row_bounds(const FinishArgs& a, const QueryInfo& info, std::uint32_t row, float lower,
                                    float upper) {
  if (upper != upper) return {-INFINITY, INFINITY};
  if (a.corpus.inner_product || a.segments.nprobe != 0) return {lower, upper};
  // halves hold ‖x‖²/2 less a relative 2^-20.
  const float norm = __double2float_ru(sqrt(static_cast<double>(a.corpus.halves[row]) * (2 + 0x1p-16)) + 0x1p-74);
  const float error = score_error(info, a.corpus.residuals[0], norm, false);
  // The middle is rounded, by less than what the slack of the larger error has to spare.
  const float middle = lower + (upper - lower) * 0.5f, spare = (upper - lower) * 0x1p-6f;
  return {fmaxf(lower, middle - error - spare), fminf(upper, middle + error + spare)};
}

/// For a set: sorts survivors, whose rows are in s.rows and whose bounds are in s.ids, by their lower bounds, and
/// returns how many in front belong to the set for certain. Those have their ids then, and keys that come before all
/// scores.
///
/// A row whose upper bound lies below the (k + 1)-th smallest lower bound has fewer than k rows that can be better.
template <class Group>
__device__ unsigned find_certain(const FinishArgs& a, const QueryInfo& info, const FinishShared& s, unsigned kept) {
  for (unsigned i = Group::rank(); i < kept; i += Group::threads) {
    const float2 bounds = row_bounds(a, info, s.rows[i], lower_of(s.ids[i]), upper_of(s.ids[i]));
    s.keys[i] = ordered(bounds.x + 0.0f);
    s.ids[i] = static_cast<std::int64_t>(static_cast<std::uint64_t>(__float_as_uint(bounds.y)) << 32 | s.rows[i]);
  }
  sort<Group>({s.keys, s.ids}, kept);
  const float outside = kept > a.k ? unordered(s.keys[a.k]) : INFINITY;
  unsigned certain = min(kept, a.k);
  for (unsigned first = 0; kept > a.k && first < a.k; first += warp_lanes) {
    const unsigned i = first + threadIdx.x % warp_lanes;
    const auto upper = static_cast<unsigned>(static_cast<std::uint64_t>(s.ids[min(i, a.k)]) >> 32);
    const unsigned doubts = ballot(i < a.k && !(__uint_as_float(upper) < outside));
    if (doubts == 0) continue;
    certain = first + __ffs(static_cast<int>(doubts)) - 1;
    break;
  }
  Group::sync();
  for (unsigned i = Group::rank(); i < kept; i += Group::threads) {
    const auto row = static_cast<std::uint32_t>(s.ids[i]);
    s.rows[i] = row;
    if (i >= certain) continue;
    s.ids[i] = a.corpus.ids[row];
    s.keys[i] = i;
  }
  Group::sync();
  return certain;
}

/// Ends query q, whose vector and segments are in shared memory. Returns false, and nothing is written, when its
/// survivors do not fit.
template <class Group, int slots>
__device__ bool finish_query(const FinishArgs& a, const QueryInfo* info, std::uint32_t q, const FinishShared& s,
                             FinishScratch& x) {
  bool overflow;
  const unsigned n = candidate_count(a, q, s, overflow);
  if (overflow) return false;
  const float limit = find_limit<Group, slots>(a, q, s, n, x);
  const unsigned kept = collect<Group>(a, q, s, n, limit, x);
  if (kept > a.capacity) return false;
  unsigned certain = 0;
  if constexpr (Group::threads == warp_lanes) {
    if (a.as_set) certain = find_certain<Group>(a, *info, s, kept);
  }
  const unsigned refined = kept - certain;
  if (refined != 0) {
    refine<Group>(a, s, certain, refined);
    Group::sync();
    sort<Group>({s.keys, s.ids}, kept);
  }
  if (Group::rank() == 0 && a.counters != nullptr) {
    atomicAdd(&a.counters->refined, static_cast<unsigned long long>(refined));
    atomicAdd(&a.counters->candidates, static_cast<unsigned long long>(n));
  }
  write_results<Group>(a, q, s, kept);
  return true;
}

/// The same by brute force.
template <class Group>
__device__ void finish_by_force(const FinishArgs& a, std::uint32_t q, const FinishShared& s, FinishScratch& x) {
  const unsigned kept = brute_force<Group>(a, q, s, x);
  if (Group::rank() == 0 && a.counters != nullptr) {
    atomicAdd(&a.counters->refined, static_cast<unsigned long long>(x.refined));
    atomicAdd(&a.counters->overflowed, 1ull);
  }
  write_results<Group>(a, q, s, kept);
}

}  // namespace ivf::detail::gpu

#endif

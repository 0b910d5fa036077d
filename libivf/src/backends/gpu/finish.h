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
};

IVF_HD inline unsigned segments_of(const FinishArgs& a) { return a.segments.nprobe == 0 ? 1 : a.segments.nprobe; }
IVF_HD inline unsigned padded_dims(const FinishArgs& a) { return (a.corpus.d + 7) / 8 * 8; }

IVF_HD inline std::size_t shared_bytes(const FinishArgs& a) {
  const std::size_t bytes = a.capacity * 16ull + padded_dims(a) * 8ull + segments_of(a) * 8ull + 4;
  return (bytes + 15) / 16 * 16;
}

__device__ inline FinishShared carve(const FinishArgs& a, char* memory) {
  FinishShared s;
  s.ids = reinterpret_cast<std::int64_t*>(memory);
  s.query = reinterpret_cast<double*>(s.ids + a.capacity);
  s.keys = reinterpret_cast<unsigned*>(s.query + padded_dims(a));
  s.rows = s.keys + a.capacity;
  s.cums = s.rows + a.capacity;
  s.errors = reinterpret_cast<float*>(s.cums + segments_of(a) + 1);
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

/// The canonical score of a row as ordered bits, by eight lanes; `part` is the lane's number among them. All lanes of
/// the warp call; those of `active` false get anything.
template <bool inner_product, bool has_lo>
__device__ unsigned canonical_key(const CorpusView& c, const double* query, std::uint32_t row, unsigned part,
                                  bool active) {
  double sum = 0;
  if (active) {
    const unsigned r = row % group_rows, eights = (c.d + 7) / 8;
    const std::size_t base = static_cast<std::size_t>(row / group_rows) * c.steps * block_values + r * step_dims + part;
    const unsigned flip = r >> 2;
    // Blocks alternate between the row's two halves.
    const std::uint16_t* hi[2] = {c.hi + base + (flip << 3), c.hi + base + ((flip ^ 1) << 3)};
    const std::uint16_t* lo[2] = {has_lo ? c.lo + base + (flip << 3) : nullptr,
                                  has_lo ? c.lo + base + ((flip ^ 1) << 3) : nullptr};
    const double* y = query + part;
    const auto take = [&](unsigned high, unsigned low, double q) {
      const double value =
          __uint_as_float((high << 16) + static_cast<unsigned>(static_cast<int>(static_cast<std::int16_t>(low))));
      const double t = q - value;
      sum = inner_product ? fma(q, value, sum) : fma(t, t, sum);
    };
    // All loads of 128 dimensions are on their way before the first is used.
    constexpr unsigned together = 16;
    unsigned first = 0;
    for (; first + together <= eights; first += together) {
      std::uint16_t high[together], low[together];
#pragma unroll
      for (unsigned s = 0; s < together; ++s) {
        high[s] = hi[s & 1][(s >> 1) * block_values];
        low[s] = has_lo ? lo[s & 1][(s >> 1) * block_values] : std::uint16_t{0};
      }
#pragma unroll
      for (unsigned s = 0; s < together; ++s) take(high[s], low[s], y[s * 8]);
      y += together * 8;
      for (unsigned h = 0; h < 2; ++h) {
        hi[h] += together / 2 * block_values;
        if (has_lo) lo[h] += together / 2 * block_values;
      }
    }
    // Dimensions past the last are zero on both sides and add +0.
#pragma unroll 4
    for (unsigned s = 0; first + s < eights; ++s) {
      const std::size_t at = static_cast<std::size_t>(s >> 1) * block_values;
      take((s & 1) == 0 ? hi[0][at] : hi[1][at], !has_lo ? 0u : (s & 1) == 0 ? lo[0][at] : lo[1][at], y[s * 8]);
    }
  }
  sum += shuffle_xor(sum, 4);
  sum += shuffle_xor(sum, 2);
  sum += shuffle_xor(sum, 1);
  const float value = __double2float_rn(sum);
  return ordered((inner_product ? -value : value) + 0.0f);
}

template <class Group, bool inner_product, bool has_lo>
__device__ void refine_rows(const FinishArgs& a, const FinishShared& s, unsigned first, unsigned count) {
  const unsigned part = Group::rank() % 8;
  for (unsigned begin = 0; begin < count; begin += Group::threads / 8) {
    const unsigned i = begin + Group::rank() / 8;
    const bool active = i < count;
    const std::uint32_t row = active ? s.rows[first + i] : 0;
    const std::int64_t id = active && part == 0 ? a.corpus.ids[row] : 0;
    const unsigned key = canonical_key<inner_product, has_lo>(a.corpus, s.query, row, part, active);
    if (active && part == 0) {
      s.keys[first + i] = key;
      s.ids[first + i] = id;
    }
  }
}

/// Keys and ids of rows[first .. first + count) in shared memory, canonically.
template <class Group>
__device__ void refine(const FinishArgs& a, const FinishShared& s, unsigned first, unsigned count) {
  if (a.corpus.lo == nullptr) {
    a.corpus.inner_product ? refine_rows<Group, true, false>(a, s, first, count)
                           : refine_rows<Group, false, false>(a, s, first, count);
  } else {
    a.corpus.inner_product ? refine_rows<Group, true, true>(a, s, first, count)
                           : refine_rows<Group, false, true>(a, s, first, count);
  }
}

/// All rows of the query re-computed canonically, the best k in front; returns how many there are. What is done when
/// bounds do not tell enough rows apart for the survivors to fit.
template <class Group>
__device__ unsigned brute_force(const FinishArgs& a, std::uint32_t q, const FinishShared& s, FinishScratch& x) {
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

/// Calls visit(i, upper) for the first n scores of a query, four at a time and several fours on their way.
template <class Group, int fours, class Visit>
__device__ void visit_scores(const float* scores, unsigned n, Visit visit) {
  const float4* from = reinterpret_cast<const float4*>(scores);
  for (unsigned first = Group::rank() * 4; first < n; first += Group::threads * 4 * fours) {
    float4 four[fours];
#pragma unroll
    for (int i = 0; i < fours; ++i) {
      const unsigned at = first + i * Group::threads * 4;
      // The stride of the scores is a multiple of four: what is read past the last one belongs to the query.
      if (at < n) four[i] = load_fresh(from + at / 4);
    }
#pragma unroll
    for (int i = 0; i < fours; ++i) {
      const unsigned at = first + i * Group::threads * 4;
      if (at < n) visit(i * 4, at, four[i].x);
      if (at + 1 < n) visit(i * 4 + 1, at + 1, four[i].y);
      if (at + 2 < n) visit(i * 4 + 2, at + 2, four[i].z);
      if (at + 3 < n) visit(i * 4 + 3, at + 3, four[i].w);
    }
  }
}

constexpr int fours_together = 4;

/// An upper bound of the k-th smallest upper bound. Of the rows that share a slot only the best counts: rows of
/// different slots are different, so that the k-th smallest of the slots bounds k rows, and is hardly larger.
template <class Group, int slots>
__device__ float find_limit(const FinishArgs& a, std::uint32_t q, unsigned n, FinishScratch& x) {
  float best[slots];
#pragma unroll
  for (int i = 0; i < slots; ++i) best[i] = INFINITY;
  // fminf passes over NaN, which stands for a row without bounds.
  if (a.scores != nullptr) {
    visit_scores<Group, fours_together>(
        a.scores + static_cast<std::size_t>(q) * a.score_stride, n,
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

/// Calls keep(lower, upper, row) for the candidates of a query within the limit.
template <class Group, class Keep>
__device__ void keep_within(const FinishArgs& a, std::uint32_t q, const FinishShared& s, unsigned n, float limit,
                            const FinishScratch& x, Keep keep) {
  if (a.scores != nullptr) {
    // Most scores exceed the limit by more than the error of any list.
    const float loose = __double2float_ru(static_cast<double>(limit) + static_cast<double>(__uint_as_float(x.error)));
    visit_scores<Group, fours_together>(a.scores + static_cast<std::size_t>(q) * a.score_stride, n,
                                        [&](int, unsigned i, float upper) {
                                          if (upper > loose) return;
                                          const unsigned rank = segment_with(s.cums, segments_of(a), i);
                                          const float lower = upper - s.errors[rank];
                                          if (lower > limit) return;
                                          keep(lower, upper, segment_begin(a, q, rank) + (i - s.cums[rank]));
                                        });
  } else {
    const std::size_t base = static_cast<std::size_t>(q) * a.candidates.capacity;
    for (unsigned i = Group::rank(); i < n; i += Group::threads) {
      const float2 bounds = a.candidates.bounds[base + i];
      if (!(bounds.x > limit)) keep(bounds.x, bounds.y, a.candidates.rows[base + i]);
    }
  }
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

/// For a set: of the survivors, described by lower bound (key) and upper bound and row (id), sorts the best k to the
/// front and gives them their ids; returns how many had to be re-computed.
///
/// A row whose upper bound lies below the (k + 1)-th smallest lower bound has fewer than k rows that can be better: it
/// belongs to the set. Those in front that are certain stay in the order of their lower bounds.
template <class Group>
__device__ unsigned refine_doubtful(const FinishArgs& a, const FinishShared& s, unsigned kept) {
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
    s.keys[i] = i;  // Before all scores.
  }
  Group::sync();
  if (certain == kept) return 0;
  refine<Group>(a, s, certain, kept - certain);
  Group::sync();
  sort<Group>({s.keys, s.ids}, kept);
  return kept - certain;
}

/// Ends query q, whose vector and segments are in shared memory. Returns false, and nothing is written, when its
/// survivors do not fit.
template <class Group, int slots>
__device__ bool finish_query(const FinishArgs& a, const QueryInfo* info, std::uint32_t q, const FinishShared& s,
                             FinishScratch& x) {
  bool overflow;
  const unsigned n = candidate_count(a, q, s, overflow);
  if (overflow) return false;
  const float limit = find_limit<Group, slots>(a, q, n, x);
  if (Group::rank() == 0) x.found = 0;
  Group::sync();
  keep_within<Group>(a, q, s, n, limit, x, [&](float lower, float upper, std::uint32_t row) {
    // Places without a row have infinite bounds, or none.
    if (!(lower > -INFINITY && limit < INFINITY) && a.corpus.ids[row] == -1) return;
    const unsigned place = atomicAdd(&x.found, 1u);
    if (place >= a.capacity) return;
    s.rows[place] = row;
    if (!a.as_set) return;
    const float2 bounds = row_bounds(a, *info, row, lower, upper);
    s.keys[place] = ordered(bounds.x + 0.0f);
    s.ids[place] = static_cast<std::int64_t>(static_cast<std::uint64_t>(__float_as_uint(bounds.y)) << 32 | row);
  });
  Group::sync();
  unsigned kept = x.found;
  if (kept > a.capacity) return false;
  const unsigned refined = a.as_set ? refine_doubtful<Group>(a, s, kept) : kept;
  if (!a.as_set) {
    refine<Group>(a, s, 0, kept);
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

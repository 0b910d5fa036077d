#pragma once
/// \file
/// Ending a query: the limit that the k-th smallest upper bound sets, the survivors within it, their canonical values,
/// and the sorted results. Executed by one block; included by the kernels that need it.

#include "backends/gpu/block.h"
#include "backends/gpu/bounds.h"
#include "backends/gpu/plan.h"

#if defined(__CUDACC__) || defined(IVF_HIP)

namespace ivf::detail::gpu {

/// Shared memory of a block that ends a query.
struct FinishShared {
  std::int64_t* ids;    ///< capacity
  float* query;         ///< d rounded up to 8, zeros at the end
  unsigned* keys;       ///< capacity
  std::uint32_t* rows;  ///< capacity
  std::uint32_t* cums;  ///< nprobe + 1: the first score of each segment
  float* errors;        ///< nprobe: twice E
};

IVF_HD inline std::size_t segments_of(const FinishArgs& a) { return a.segments.nprobe == 0 ? 1 : a.segments.nprobe; }

IVF_HD inline std::size_t shared_bytes(const FinishArgs& a) {
  return a.capacity * 16ull + ((a.corpus.d + 7) / 8 * 8) * 4ull + segments_of(a) * 8ull + 16;
}

__device__ inline FinishShared carve(const FinishArgs& a, char* memory) {
  FinishShared s;
  s.ids = reinterpret_cast<std::int64_t*>(memory);
  s.keys = reinterpret_cast<unsigned*>(s.ids + a.capacity);
  s.rows = s.keys + a.capacity;
  s.query = reinterpret_cast<float*>(s.rows + a.capacity);
  s.cums = reinterpret_cast<std::uint32_t*>(s.query + (a.corpus.d + 7) / 8 * 8);
  s.errors = reinterpret_cast<float*>(s.cums + segments_of(a) + 1);
  return s;
}

/// What scratch of a fixed size the block shares besides.
struct FinishScratch {
  BlockScratch block;
  unsigned found;    ///< Survivors.
  unsigned refined;  ///< Rows re-computed by brute force.
};

__device__ inline void load_query(const FinishArgs& a, std::uint32_t q, const FinishShared& s) {
  const float* from = a.queries + static_cast<std::size_t>(q) * a.query_stride;
  for (unsigned i = threadIdx.x; i < (a.corpus.d + 7) / 8 * 8; i += blockDim.x)
    s.query[i] = i < a.corpus.d ? from[i] : 0.0f;
}

/// Segments of a query in shared memory; needs a barrier after it.
__device__ inline void load_segments(const FinishArgs& a, const QueryInfo& info, std::uint32_t q,
                                     const FinishShared& s) {
  const Segments& g = a.segments;
  if (g.nprobe == 0) {
    if (threadIdx.x == 0) {
      s.cums[0] = 0;
      s.cums[1] = g.whole_rows;
      s.errors[0] = 2 * score_error(info, a.corpus.residuals[0], a.corpus.norms[0], a.corpus.inner_product);
    }
    return;
  }
  const std::uint32_t* cums = g.cums + static_cast<std::size_t>(q) * (g.nprobe + 1);
  const std::int32_t* lists = g.lists + static_cast<std::size_t>(q) * g.nprobe;
  for (unsigned r = threadIdx.x; r <= g.nprobe; r += blockDim.x) {
    s.cums[r] = cums[r];
    if (r == g.nprobe) break;
    const std::int32_t list = lists[r];
    s.errors[r] =
        list < 0 ? 0.0f : 2 * score_error(info, a.corpus.residuals[list], a.corpus.norms[list], a.corpus.inner_product);
  }
}

/// First row of the segment of a rank.
__device__ inline std::uint32_t segment_begin(const FinishArgs& a, std::uint32_t q, std::uint32_t rank) {
  if (a.segments.nprobe == 0) return 0;
  return a.corpus.begins[a.segments.lists[static_cast<std::size_t>(q) * a.segments.nprobe + rank]];
}

/// The canonical score of a row as ordered bits, by eight lanes; `part` is the lane's number among them. All lanes of
/// the warp call; those of `active` false get anything.
__device__ inline unsigned canonical_key(const CorpusView& c, const float* query, std::uint32_t row, unsigned part,
                                         bool active) {
  double sum = 0;
  if (active) {
    const unsigned r = row % group_rows, eights = (c.d + 7) / 8;
    const std::size_t base = static_cast<std::size_t>(row / group_rows) * c.steps * block_values + r * step_dims + part;
    const unsigned flip = r >> 2;
#pragma unroll 8
    for (unsigned s = 0; s < eights; ++s) {
      const std::size_t at = base + (s >> 1) * block_values + (((s & 1) ^ flip) << 3);
      const unsigned low = c.lo == nullptr ? 0u : c.lo[at];
      const unsigned bits = (static_cast<unsigned>(c.hi[at]) << 16) +
                            static_cast<unsigned>(static_cast<int>(static_cast<std::int16_t>(low)));
      const double x = __uint_as_float(bits), y = query[s * 8 + part];
      // Dimensions past the last are zero on both sides and add +0.
      const double t = y - x;
      sum = c.inner_product ? fma(y, x, sum) : fma(t, t, sum);
    }
  }
  sum += shuffle_xor(sum, 4);
  sum += shuffle_xor(sum, 2);
  sum += shuffle_xor(sum, 1);
  const float value = __double2float_rn(sum);
  return ordered((c.inner_product ? -value : value) + 0.0f);
}

/// Keys and ids of rows[0 .. count) in shared memory, canonically.
__device__ inline void refine(const FinishArgs& a, const FinishShared& s, unsigned first, unsigned count) {
  const unsigned part = threadIdx.x % 8;
  for (unsigned begin = 0; begin < count; begin += blockDim.x / 8) {
    const unsigned i = begin + threadIdx.x / 8;
    const bool active = i < count;
    const std::uint32_t row = active ? s.rows[first + i] : 0;
    const unsigned key = canonical_key(a.corpus, s.query, row, part, active);
    if (active && part == 0) {
      s.keys[first + i] = key;
      s.ids[first + i] = a.corpus.ids[row];
    }
  }
}

/// All rows of the query re-computed canonically, the best k in front; returns how many there are. What is done when
/// bounds do not tell enough rows apart for the survivors to fit.
__device__ inline unsigned brute_force(const FinishArgs& a, std::uint32_t q, const FinishShared& s, FinishScratch& x) {
  const Ranked ranked{s.keys, s.ids};
  unsigned kept = 0;
  if (threadIdx.x == 0) x.refined = 0;
  for (std::uint32_t rank = 0; rank < segments_of(a); ++rank) {
    const std::uint32_t rows = s.cums[rank + 1] - s.cums[rank];
    if (rows == 0) continue;
    const std::uint32_t begin = segment_begin(a, q, rank);
    for (std::uint32_t row = 0; row < rows;) {
      if (kept > a.k) {
        block_sort(ranked, kept);
        kept = a.k;
      }
      const unsigned count = min(rows - row, a.capacity - kept);
      // The places of rows that do not exist take no part.
      __syncthreads();
      if (threadIdx.x == 0) x.found = kept;
      __syncthreads();
      for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
        const std::uint32_t at = begin + row + i;
        if (a.corpus.ids[at] != -1) s.rows[atomicAdd(&x.found, 1u)] = at;
      }
      __syncthreads();
      const unsigned found = x.found;
      refine(a, s, kept, found - kept);
      if (threadIdx.x == 0) x.refined += found - kept;
      kept = found;
      row += count;
      __syncthreads();
    }
  }
  block_sort(ranked, kept);
  return min(kept, a.k);
}

/// Calls visit(upper, lower, row) for every candidate of the query; the row is not looked up before it is asked for.
/// `n` is their number.
template <class Visit>
__device__ inline void visit_candidates(const FinishArgs& a, std::uint32_t q, const FinishShared& s, unsigned n,
                                        Visit visit) {
  if (a.scores != nullptr) {
    const float* scores = a.scores + static_cast<std::size_t>(q) * a.score_stride;
    unsigned rank = 0;
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
      while (i >= s.cums[rank + 1]) ++rank;
      const float upper = __ldcg(scores + i);
      visit(upper, upper - s.errors[rank], [&] { return segment_begin(a, q, rank) + (i - s.cums[rank]); });
    }
  } else {
    const std::size_t base = static_cast<std::size_t>(q) * a.candidates.capacity;
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
      const float2 bounds = a.candidates.bounds[base + i];
      visit(bounds.y, bounds.x, [&] { return a.candidates.rows[base + i]; });
    }
  }
}

/// An upper bound of the k-th smallest upper bound. Of the rows that share a slot only the best counts: rows of
/// different slots are different, so that the k-th smallest of the slots bounds k rows, and is hardly larger.
template <int slots>
__device__ inline float find_limit(const FinishArgs& a, std::uint32_t q, const FinishShared& s, unsigned n,
                                   FinishScratch& x) {
  float best[slots];
#pragma unroll
  for (int i = 0; i < slots; ++i) best[i] = INFINITY;
  const float* scores = a.scores == nullptr ? nullptr : a.scores + static_cast<std::size_t>(q) * a.score_stride;
  const float2* bounds = a.candidates.bounds + static_cast<std::size_t>(q) * a.candidates.capacity;
  for (unsigned first = threadIdx.x; first < n; first += blockDim.x * slots) {
#pragma unroll
    for (int i = 0; i < slots; ++i) {
      const unsigned at = first + i * blockDim.x;
      // fminf passes over NaN, which stands for a row without bounds.
      if (at < n) best[i] = fminf(best[i], scores != nullptr ? __ldcg(scores + at) : bounds[at].y);
    }
  }
  return kth_smallest(best, a.k, x.block);
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

/// Ends query q. The query and its segments are in shared memory.
template <int slots>
__device__ inline void finish_query(const FinishArgs& a, std::uint32_t q, const FinishShared& s, FinishScratch& x) {
  bool overflow;
  const unsigned n = candidate_count(a, q, s, overflow);
  unsigned kept = 0;
  if (!overflow) {
    const float limit = find_limit<slots>(a, q, s, n, x);
    if (threadIdx.x == 0) x.found = 0;
    __syncthreads();
    visit_candidates(a, q, s, n, [&](float, float lower, auto row_of) {
      if (lower > limit) return;
      const std::uint32_t row = row_of();
      if (a.corpus.ids[row] == -1) return;
      const unsigned place = atomicAdd(&x.found, 1u);
      if (place < a.capacity) s.rows[place] = row;
    });
    __syncthreads();
    kept = x.found;
    overflow = kept > a.capacity;
  }
  if (overflow) {
    kept = brute_force(a, q, s, x);
  } else {
    refine(a, s, 0, kept);
    __syncthreads();
    block_sort({s.keys, s.ids}, kept);
  }
  if (threadIdx.x == 0 && a.counters != nullptr) {
    atomicAdd(&a.counters->refined, static_cast<unsigned long long>(overflow ? x.refined : kept));
    atomicAdd(&a.counters->candidates, static_cast<unsigned long long>(n));
    atomicAdd(&a.counters->overflowed, overflow ? 1ull : 0ull);
  }
  for (unsigned i = threadIdx.x; i < a.k; i += blockDim.x) {
    const bool found = i < kept;
    const std::size_t to = static_cast<std::size_t>(q) * a.k + i;
    const float score = found ? unordered(s.keys[i]) : INFINITY;
    if (a.values != nullptr) a.values[to] = a.corpus.inner_product ? 0.0f - score : score;
    if (a.ids != nullptr) a.ids[to] = found ? s.ids[i] : -1;
    if (a.lists != nullptr) a.lists[to] = found ? static_cast<std::int32_t>(s.ids[i]) : -1;
  }
  if (!a.plan) return;
  __syncthreads();
  if (threadIdx.x < warp_lanes) plan_query(a.next, q);
}

}  // namespace ivf::detail::gpu

#endif

#pragma once
/// \file
/// What a block of threads does together: counting, the k-th smallest of its values, sorting.

#include "backends/gpu/views.h"

#if defined(__CUDACC__) || defined(IVF_HIP)

namespace ivf::detail::gpu {

/// Bits in the order of the floats (not NaN); a zero of either sign must have been made +0 where that matters.
__device__ inline unsigned ordered(float x) {
  const unsigned bits = __float_as_uint(x);
  return (bits & 0x80000000u) ? ~bits : bits | 0x80000000u;
}
__device__ inline float unordered(unsigned key) {
  return __uint_as_float((key & 0x80000000u) ? key & 0x7fffffffu : ~key);
}

struct BlockScratch {
  unsigned counts[3];
  unsigned smallest, largest;
};

/// The sum over the block of each thread's `count`. `turn` counts the calls since clear(); all threads call.
__device__ inline unsigned block_sum(unsigned count, BlockScratch& scratch, unsigned turn) {
  count = warp_sum(count);
  if (threadIdx.x % warp_lanes == 0 && count != 0) atomicAdd(&scratch.counts[turn % 3], count);
  __syncthreads();
  // The slot of the turn before has been read by all, and is not used before the barrier after the next.
  if (threadIdx.x == 0) scratch.counts[(turn + 2) % 3] = 0;
  return scratch.counts[turn % 3];
}

/// A number that at least k of the block's values reach from below, close above the k-th smallest; +inf when fewer than
/// k are finite. No value may be NaN.
template <int slots>
__device__ float kth_smallest(const float (&values)[slots], unsigned k, BlockScratch& scratch) {
  if (threadIdx.x == 0) {
    scratch.counts[0] = scratch.counts[1] = scratch.counts[2] = 0;
    scratch.smallest = 0xffffffffu;
    scratch.largest = 0;
  }
  __syncthreads();
  const unsigned end = ordered(INFINITY);
  unsigned keys[slots], smallest = 0xffffffffu, largest = 0, finite = 0;
#pragma unroll
  for (int i = 0; i < slots; ++i) {
    keys[i] = ordered(values[i]);
    if (keys[i] >= end) continue;
    smallest = min(smallest, keys[i]);
    largest = max(largest, keys[i]);
    ++finite;
  }
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes >>= 1) {
    smallest = min(smallest, shuffle_xor(smallest, lanes));
    largest = max(largest, shuffle_xor(largest, lanes));
  }
  if (threadIdx.x % warp_lanes == 0) {
    atomicMin(&scratch.smallest, smallest);
    atomicMax(&scratch.largest, largest);
  }
  unsigned turn = 0;
  if (block_sum(finite, scratch, turn++) < k) return INFINITY;
  unsigned low = scratch.smallest, high = scratch.largest;
  // A threshold that a few more values pass is good enough, and found in fewer steps.
  const unsigned enough = k + k / 8;
  while (low < high) {
    const unsigned middle = low + (high - low) / 2;
    unsigned count = 0;
#pragma unroll
    for (int i = 0; i < slots; ++i) count += keys[i] <= middle;
    count = block_sum(count, scratch, turn++);
    if (count >= k) {
      high = middle;
      if (count <= enough) break;
    } else {
      low = middle + 1;
    }
  }
  return unordered(high);
}

/// Results being sorted: score as ordered bits, then id.
struct Ranked {
  unsigned* keys;
  std::int64_t* ids;
};

__device__ inline bool ranks_after(unsigned key_a, std::int64_t id_a, unsigned key_b, std::int64_t id_b) {
  return key_a != key_b ? key_a > key_b : id_a > id_b;
}

/// Sorts n entries; there must be room up to the next power of two.
__device__ inline void block_sort(const Ranked& list, unsigned n) {
  unsigned size = 1;
  while (size < n) size *= 2;
  for (unsigned i = n + threadIdx.x; i < size; i += blockDim.x) {
    list.keys[i] = 0xffffffffu;
    list.ids[i] = INT64_MAX;
  }
  __syncthreads();
  for (unsigned width = 2; width <= size; width *= 2) {
    for (unsigned stride = width / 2; stride > 0; stride /= 2) {
      for (unsigned t = threadIdx.x; t < size / 2; t += blockDim.x) {
        const unsigned a = 2 * t - (t & (stride - 1)), b = a + stride;
        const bool ascending = (a & width) == 0;
        const unsigned key_a = list.keys[a], key_b = list.keys[b];
        const std::int64_t id_a = list.ids[a], id_b = list.ids[b];
        if (ranks_after(key_a, id_a, key_b, id_b) == ascending) {
          list.keys[a] = key_b;
          list.keys[b] = key_a;
          list.ids[a] = id_b;
          list.ids[b] = id_a;
        }
      }
      __syncthreads();
    }
  }
}

}  // namespace ivf::detail::gpu

#endif

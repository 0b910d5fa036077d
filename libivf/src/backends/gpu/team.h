#pragma once
/// \file
/// What the threads of a team, a warp or a whole block, do together: counting, the k-th smallest of their values,
/// sorting.

#include "backends/gpu/views.h"

#if defined(IVF_DEVICE_CODE)

namespace ivf::detail::gpu {

/// Bits in the order of the floats (not NaN); a zero of either sign must have been made +0 where that matters.
__device__ inline unsigned ordered(float x) {
  const unsigned bits = __float_as_uint(x);
  return (bits & 0x80000000u) ? ~bits : bits | 0x80000000u;
}
__device__ inline float unordered(unsigned key) {
  return __uint_as_float((key & 0x80000000u) ? key & 0x7fffffffu : ~key);
}

struct TeamScratch {
  unsigned counts[3];
  unsigned smallest, largest;
};

/// `warps` warps: one, of which a block may hold several teams, or all of the block.
template <int warps>
struct Team {
  static constexpr unsigned threads = warps * warp_lanes;
  static __device__ unsigned rank() { return threadIdx.x % threads; }
  static __device__ void sync() {
    if constexpr (warps == 1) {
      sync_warp();
    } else {
      __syncthreads();
    }
  }

  /// The sum of each thread's `count`. `turn` counts the calls since the scratch was cleared; all threads call.
  static __device__ unsigned sum(unsigned count, TeamScratch& scratch, unsigned turn) {
    count = warp_sum(count);
    if constexpr (warps == 1) {
      return count;
    } else {
      if (rank() % warp_lanes == 0 && count != 0) atomicAdd(&scratch.counts[turn % 3], count);
      __syncthreads();
      // The slot of the turn before has been read by all, and is not used before the barrier after the next.
      if (rank() == 0) scratch.counts[(turn + 2) % 3] = 0;
      return scratch.counts[turn % 3];
    }
  }
};

/// A number that at least k of the team's values reach from below, close above the k-th smallest; +inf when fewer than
/// k are finite. No value may be NaN.
template <class Group, int slots>
__device__ float kth_smallest(const float (&values)[slots], unsigned k, TeamScratch& scratch) {
  if (Group::rank() == 0) {
    scratch.counts[0] = scratch.counts[1] = scratch.counts[2] = 0;
    scratch.smallest = 0xffffffffu;
    scratch.largest = 0;
  }
  Group::sync();
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
  smallest = warp_min(smallest);
  largest = warp_max(largest);
  if (Group::rank() % warp_lanes == 0) {
    atomicMin(&scratch.smallest, smallest);
    atomicMax(&scratch.largest, largest);
  }
  Group::sync();
  unsigned turn = 0;
  if (Group::sum(finite, scratch, turn++) < k) return INFINITY;
  unsigned low = scratch.smallest, high = scratch.largest;
  // A threshold that a few more values pass is good enough, and found in fewer steps.
  const unsigned enough = k + k / 8;
  while (low < high) {
    const unsigned middle = low + (high - low) / 2;
    unsigned count = 0;
#pragma unroll
    for (int i = 0; i < slots; ++i) count += keys[i] <= middle;
    count = Group::sum(count, scratch, turn++);
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

/// Sorts at most 32 * each entries by one warp: bitonic in registers, `each` neighbours a lane, over key and place. Ids
/// decide between equal keys, which are few where it matters for time: they are put in order afterwards.
template <unsigned each>
__device__ void sort_in_registers(const Ranked& list, unsigned n) {
  const unsigned lane = threadIdx.x % warp_lanes;
  unsigned long long entries[each];
#pragma unroll
  for (unsigned e = 0; e < each; ++e) {
    const unsigned i = lane * each + e;
    entries[e] = i < n ? static_cast<unsigned long long>(list.keys[i]) << 32 | i : ~0ull;
  }
#pragma unroll
  for (unsigned width = 2; width <= each * warp_lanes; width *= 2) {
#pragma unroll
    for (unsigned stride = width / 2; stride > 0; stride /= 2) {
#pragma unroll
      for (unsigned e = 0; e < each; ++e) {
        const bool ascending = ((lane * each + e) & width) == 0;
        if (stride >= each) {
          const unsigned long long other = shuffle_xor(entries[e], static_cast<int>(stride / each));
          const bool first = (lane & (stride / each)) == 0;
          if ((first == ascending) == (other < entries[e])) entries[e] = other;
        } else if ((e & stride) == 0) {
          const unsigned long long a = entries[e], b = entries[(e + stride) % each];
          const bool swap = (b < a) == ascending;
          entries[e] = swap ? b : a;
          entries[(e + stride) % each] = swap ? a : b;
        }
      }
    }
  }
  std::int64_t ids[each];
#pragma unroll
  for (unsigned e = 0; e < each; ++e) ids[e] = lane * each + e < n ? list.ids[static_cast<unsigned>(entries[e])] : 0;
  sync_warp();
#pragma unroll
  for (unsigned e = 0; e < each; ++e) {
    const unsigned i = lane * each + e;
    if (i >= n) continue;
    list.keys[i] = static_cast<unsigned>(entries[e] >> 32);
    list.ids[i] = ids[e];
  }
  sync_warp();
  for (bool swapped = true; ballot(swapped) != 0;) {
    swapped = false;
    for (unsigned parity = 0; parity < 2; ++parity) {
      for (unsigned i = lane * 2 + parity; i + 1 < n; i += 2 * warp_lanes) {
        const std::int64_t a = list.ids[i], b = list.ids[i + 1];
        if (list.keys[i] != list.keys[i + 1] || a <= b) continue;
        list.ids[i] = b;
        list.ids[i + 1] = a;
        swapped = true;
      }
      sync_warp();
    }
  }
}

/// Sorts at most 128 entries by a block of more threads, counting for each how many come before it.
template <class Group>
__device__ void sort_few(const Ranked& list, unsigned n) {
  constexpr unsigned helpers = Group::threads / 128;  // Threads that count for one entry.
  const unsigned i = Group::rank() / helpers, part = Group::rank() % helpers;
  const unsigned key = i < n ? list.keys[i] : 0;
  const std::int64_t id = i < n ? list.ids[i] : 0;
  unsigned place = 0;
  if (i < n) {
#pragma unroll 4
    for (unsigned j = part; j < n; j += helpers) {
      const unsigned other = list.keys[j];
      const std::int64_t other_id = list.ids[j];
      place += other < key || (other == key && (other_id < id || (other_id == id && j < i)));
    }
  }
#pragma unroll
  for (unsigned lanes = 1; lanes < helpers; lanes *= 2) place += shuffle_xor(place, static_cast<int>(lanes));
  Group::sync();
  if (i < n && part == 0) {
    list.keys[place] = key;
    list.ids[place] = id;
  }
  Group::sync();
}

/// Sorts n entries; there must be room up to the next power of two.
template <class Group>
__device__ void sort(const Ranked& list, unsigned n) {
  if (n <= 128) {
    Group::sync();
    if constexpr (Group::threads > warp_lanes) {
      sort_few<Group>(list, n);
    } else if (n <= warp_lanes) {
      sort_in_registers<1>(list, n);
    } else {
      sort_in_registers<4>(list, n);
    }
    return;
  }
  unsigned size = 1;
  while (size < n) size *= 2;
  for (unsigned i = n + Group::rank(); i < size; i += Group::threads) {
    list.keys[i] = 0xffffffffu;
    list.ids[i] = INT64_MAX;
  }
  Group::sync();
  for (unsigned width = 2; width <= size; width *= 2) {
    for (unsigned stride = width / 2; stride > 0; stride /= 2) {
      for (unsigned t = Group::rank(); t < size / 2; t += Group::threads) {
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
      Group::sync();
    }
  }
}

}  // namespace ivf::detail::gpu

#endif

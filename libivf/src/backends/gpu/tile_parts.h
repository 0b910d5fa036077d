#pragma once
/// \file
/// What the kernels that scan tiles share: the queries of a tile, work items, and the rows that pass a threshold.

#include <utility>

#include "backends/gpu/bounds.h"
#include "backends/gpu/kernels.h"
#include "backends/gpu/matrix_unit.h"

#if defined(IVF_DEVICE_CODE)

namespace ivf::detail::gpu {

constexpr unsigned chunk_steps = 8;  // Of 16 dimensions: what a stage holds of a row.
constexpr unsigned block_bytes = block_values * 2;
constexpr unsigned chunk_bytes = chunk_steps * block_bytes;  // Of a group of 8 rows.
constexpr std::uint32_t no_query = 0xffffffffu;

/// Of each query of a tile, in shared memory.
struct Lane {
  float threshold, offset, error;
  std::uint32_t query, base, begin, end;
};

__device__ inline Pair pair_of(const TileArgs& a, std::uint32_t index) {
  return a.items == nullptr ? Pair{index, 0, a.first, a.last} : a.pairs[index];
}

/// `tiles`: of all queries, when there are no items.
__device__ inline Item item_of(const TileArgs& a, std::uint32_t index, std::uint32_t tiles, unsigned tile) {
  if (a.items != nullptr) return a.items[index];
  // Tiles of one slice follow each other: they read the same rows.
  const std::uint32_t slice = index / tiles, first = index % tiles * tile;
  const std::uint32_t row = a.first + slice * a.slice_rows;
  return {0, first, min(tile, a.nq - first), row, min(a.last, row + a.slice_rows)};
}

__device__ inline std::uint32_t item_count(const TileArgs& a, std::uint32_t tiles) {
  return a.items != nullptr ? *a.item_count : tiles * ((a.last - a.first + a.slice_rows - 1) / a.slice_rows);
}

/// Query i of an item's tile.
template <bool all_scores>
__device__ inline Lane lane_of(const TileArgs& a, const Item& item, unsigned i) {
  if (i >= item.pairs) return {INFINITY, 0, 0, no_query, 0, 0, 0};
  const Pair pair = pair_of(a, item.first_pair + i);
  const ScoreBounds bounds = score_bounds(a.info[pair.query], a.corpus.residuals[item.list], a.corpus.norms[item.list],
                                          a.corpus.inner_product);
  const float threshold = all_scores ? 0 : bounds.threshold(a.candidates.limits[pair.query]);
  return {threshold, bounds.offset, bounds.error, pair.query, pair.base, pair.begin, pair.end};
}

/// Writes the upper bounds of four products, in the order of matrix_unit.h, of rows `row` and row + 8 of the list with
/// the first of `queries` and the next.
__device__ inline void write_scores(const TileArgs& a, const Lane* queries, std::uint32_t row, std::uint32_t last,
                                    const float* sum, const float (&halves)[2]) {
  const float scale = a.corpus.inner_product ? -1.0f : -2.0f;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const Lane& l = queries[j];
    float* scores = a.scores + static_cast<std::size_t>(l.query) * a.score_stride + l.base;
    const std::uint32_t end = min(l.end, last);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const std::uint32_t at = row + i * 8;
      if (at >= l.begin && at < end) scores[at] = fmaf(scale, sum[i * 2 + j] - halves[i], l.offset) + l.error;
    }
  }
}

/// Where 16 bytes of a query lie in its tile: unit `unit` of row `query`, groups of 8 rows `stride` bytes apart.
__device__ inline unsigned query_place(unsigned query, unsigned unit, unsigned stride) {
  const unsigned r = query % 8;
  return query / 8 * stride + unit / 2 * block_bytes + r * 32 + (((unit & 1) ^ (r >> 2)) << 4);
}

constexpr unsigned place_bits = 6;

/// The products of a warp that pass their thresholds: 16 * row_blocks rows by 8 * query_blocks queries of a tile of
/// `rows` rows. A lane gathers its own, up to `slots`, until one of the warp has no room; then all are appended. It
/// looks through `window_blocks` blocks at a time.
template <int query_blocks, int row_blocks, int rows, int window_blocks, int slots>
class Survivors {
 public:
  static constexpr int blocks = row_blocks * query_blocks;
  static constexpr int windows = blocks / window_blocks;
  static_assert(blocks * 4 <= 1 << place_bits && windows * window_blocks == blocks && window_blocks <= 8);

  /// Of a warp, in shared memory.
  struct Memory {
    float window[window_blocks][warp_lanes][4];  ///< Of which a lane takes those that it chooses.
    float values[slots][warp_lanes];             ///< With the place in the tile in the lowest bits.
    std::uint16_t tiles[slots][warp_lanes];      ///< Number of the tile in the item.
  };

  __device__ Survivors(const TileArgs& args, Memory& memory)
      : a_(args), memory_(memory), lane_(threadIdx.x % warp_lanes) {}

  /// Of the next item: its list's first row, and the warp's first row in the item and first query in the tile.
  __device__ void start(std::uint32_t list_begin, std::uint32_t first_row, const Lane* queries) {
    list_begin_ = list_begin;
    first_row_ = first_row;
    queries_ = queries;
  }

  /// The products of a tile: of each block (row block, query block) four, in the order of matrix_unit.h.
  __device__ void look_through(const float (&sums)[blocks][4], const float (&halves)[row_blocks][2],
                               const float (&thresholds)[query_blocks][2], unsigned tile) {
    // Windows are a loop and what differs between them a switch, so that the rest, which is long, is there once.
#pragma unroll 1
    for (int number = 0; number < windows; ++number) {
      unsigned found = 0;
      [&]<int... of>(std::integer_sequence<int, of...>) {
        ((number == of ? static_cast<void>(found = look<of>(sums, halves, thresholds)) : void()), ...);
      }
      (std::make_integer_sequence<int, windows>());
      while (ballot(found != 0) != 0) {
        if (found != 0) {
          const unsigned place = static_cast<unsigned>(__ffs(static_cast<int>(found))) - 1,
                         block = number * window_blocks + place / 4;
          found &= found - 1;
          const float v = memory_.window[place / 4][lane_][place % 4];
          const unsigned code = block * 4 + place % 4;
          memory_.values[count_][lane_] = __uint_as_float((__float_as_uint(v) & ~((1u << place_bits) - 1)) | code);
          memory_.tiles[count_][lane_] = static_cast<std::uint16_t>(tile);
          ++count_;
        }
        if (ballot(count_ == slots) != 0) append();
      }
    }
  }

  /// Appends them to their queries' candidates.
  __device__ void append() {
    const float scale = a_.corpus.inner_product ? -1.0f : -2.0f;
    const unsigned most = warp_max(count_);
    constexpr unsigned together = 4;  // On their way at a time.
#pragma unroll 1
    for (unsigned done = 0; done < most; done += together) {
      float value[together];
      std::uint32_t row[together], place[together];
      const Lane* of[together];
#pragma unroll
      for (unsigned t = 0; t < together; ++t) {
        const unsigned at = min(done + t, slots - 1u);
        value[t] = memory_.values[at][lane_];
        const unsigned code = __float_as_uint(value[t]) & ((1u << place_bits) - 1);
        const unsigned i = code % 4, n = code / 4 % query_blocks, m = code / 4 / query_blocks;
        row[t] = first_row_ + memory_.tiles[at][lane_] * rows + m * 16 + i / 2 * 8 + lane_ / 4;
        of[t] = queries_ + (n * 8 + lane_ % 4 * 2 + i % 2);
        place[t] = a_.candidates.capacity;
        if (done + t < count_ && row[t] >= of[t]->begin && row[t] < of[t]->end)
          place[t] = atomicAdd(a_.candidates.counts + of[t]->query, 1u);
      }
#pragma unroll
      for (unsigned t = 0; t < together; ++t) {
        if (place[t] >= a_.candidates.capacity) continue;
        const std::size_t to = static_cast<std::size_t>(of[t]->query) * a_.candidates.capacity + place[t];
        const float middle = fmaf(scale, value[t], of[t]->offset);
        const float lower = middle - of[t]->error, upper = middle + of[t]->error;
        const bool known = upper == upper;
        a_.candidates.bounds[to] = {known ? lower : -INFINITY, known ? upper : INFINITY};
        a_.candidates.rows[to] = list_begin_ + row[t];
      }
    }
    count_ = 0;
  }

 private:
  /// Bits of those of a window that pass, all of which it leaves in memory.
  template <int number>
  __device__ unsigned look(const float (&sums)[blocks][4], const float (&halves)[row_blocks][2],
                           const float (&thresholds)[query_blocks][2]) {
    // Several words, so that no bit has to wait for the one before it.
    unsigned found[window_blocks] = {};
#pragma unroll
    for (int b = 0; b < window_blocks; ++b) {
      const int block = number * window_blocks + b, m = block / query_blocks, n = block % query_blocks;
      float v[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        v[i] = sums[block][i] - halves[m][i / 2];
        // NaN passes.
        if (!(v[i] < thresholds[n][i % 2])) found[b] |= 1u << (b * 4 + i);
      }
      *reinterpret_cast<float4*>(memory_.window[b][lane_]) = {v[0], v[1], v[2], v[3]};
    }
    unsigned all = 0;
#pragma unroll
    for (int b = 0; b < window_blocks; ++b) all |= found[b];
    return all;
  }

  const TileArgs& a_;
  Memory& memory_;
  const unsigned lane_;
  unsigned count_ = 0;
  std::uint32_t list_begin_ = 0, first_row_ = 0;
  const Lane* queries_ = nullptr;
};

}  // namespace ivf::detail::gpu

#endif

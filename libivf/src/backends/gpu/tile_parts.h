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

// Survivors that a lane gathers before its warp appends them, and those that it may find until it looks again.
constexpr unsigned gathered_most = 5;
constexpr unsigned found_most = 8;
constexpr unsigned place_bits = 6;
struct Gathered {
  float values[gathered_most + found_most][warp_lanes];         ///< With the place in the tile in the lowest bits.
  std::uint16_t tiles[gathered_most + found_most][warp_lanes];  ///< Number of the tile in the item.
};

/// The products of a warp that pass their thresholds: 16 * row_blocks rows by 8 * query_blocks queries of a tile of
/// `rows` rows. Each lane gathers its own, so that finding one takes no branch and no word from the others.
template <int query_blocks, int row_blocks, int rows>
class Survivors {
 public:
  static_assert(row_blocks * query_blocks * 4 <= 1 << place_bits);

  __device__ Survivors(const TileArgs& args, Gathered& gathered)
      : a_(args),
        gathered_(gathered),
        lane_(threadIdx.x % warp_lanes),
        begin_(shared_address(&gathered.values[0][lane_])),
        end_(begin_) {}

  /// Of the next item: its list's first row, and the warp's first row in the item and first query in the tile.
  __device__ void start(std::uint32_t list_begin, std::uint32_t first_row, const Lane* queries) {
    list_begin_ = list_begin;
    first_row_ = first_row;
    queries_ = queries;
  }

  /// The products of a tile: of each block (row block, query block) four, in the order of matrix_unit.h.
  __device__ void look_through(const float (&sums)[row_blocks * query_blocks][4], const float (&halves)[row_blocks][2],
                               const float (&thresholds)[query_blocks][2], unsigned tile) {
    // Between steps a lane's gathered ones are appended if they have become many. Steps are a loop and the blocks of a
    // step a switch, so that the code for that, which is long and seldom needed, is there once.
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      [&]<int... number>(std::integer_sequence<int, number...>) {
        ((step == number ? look<number>(sums, halves, thresholds) : void()), ...);
      }
      (std::make_integer_sequence<int, steps>());
      if (ballot(end_ > begin_ + gathered_most * slot_bytes) == 0) continue;
      mark(tile);
      append();
    }
    mark(tile);
  }

  /// Notes the tile of those that were found since.
  __device__ void mark(unsigned tile) {
    const unsigned found = count();
    for (; marked_ < found; ++marked_) gathered_.tiles[marked_][lane_] = static_cast<std::uint16_t>(tile);
  }

  /// Appends them to their queries' candidates.
  __device__ void append() {
    const float scale = a_.corpus.inner_product ? -1.0f : -2.0f;
    const unsigned found = count(), most = warp_max(found);
    constexpr unsigned together = 4;  // On their way at a time.
    for (unsigned done = 0; done < most; done += together) {
      float value[together];
      std::uint32_t row[together], place[together];
      const Lane* of[together];
#pragma unroll
      for (unsigned t = 0; t < together; ++t) {
        const unsigned at = min(done + t, gathered_most + found_most - 1);
        value[t] = gathered_.values[at][lane_];
        const unsigned code = __float_as_uint(value[t]) & ((1u << place_bits) - 1);
        const unsigned i = code % 4, n = code / 4 % query_blocks, m = code / 4 / query_blocks;
        row[t] = first_row_ + gathered_.tiles[at][lane_] * rows + m * 16 + i / 2 * 8 + lane_ / 4;
        of[t] = queries_ + (n * 8 + lane_ % 4 * 2 + i % 2);
        place[t] = a_.candidates.capacity;
        if (done + t < found && row[t] >= of[t]->begin && row[t] < of[t]->end)
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
    end_ = begin_;
    marked_ = 0;
  }

 private:
  static constexpr unsigned slot_bytes = warp_lanes * sizeof(float);
  static constexpr int blocks_of_step = query_blocks < 2 ? 1 : 2;  ///< That are looked through between two checks.
  static constexpr int steps = row_blocks * query_blocks / blocks_of_step;
  static_assert(blocks_of_step * 4 <= found_most);

  __device__ unsigned count() const { return (end_ - begin_) / slot_bytes; }

  template <int step>
  __device__ void look(const float (&sums)[row_blocks * query_blocks][4], const float (&halves)[row_blocks][2],
                       const float (&thresholds)[query_blocks][2]) {
    look_at<step * blocks_of_step>(sums, halves, thresholds);
    if constexpr (blocks_of_step == 2) look_at<step * blocks_of_step + 1>(sums, halves, thresholds);
  }
  template <int block>
  __device__ void look_at(const float (&sums)[row_blocks * query_blocks][4], const float (&halves)[row_blocks][2],
                          const float (&thresholds)[query_blocks][2]) {
    constexpr int m = block / query_blocks, n = block % query_blocks;
    store_unless_below<block * 4, slot_bytes>(end_, sums[block][0] - halves[m][0], thresholds[n][0]);
    store_unless_below<block * 4 + 1, slot_bytes>(end_, sums[block][1] - halves[m][0], thresholds[n][1]);
    store_unless_below<block * 4 + 2, slot_bytes>(end_, sums[block][2] - halves[m][1], thresholds[n][0]);
    store_unless_below<block * 4 + 3, slot_bytes>(end_, sums[block][3] - halves[m][1], thresholds[n][1]);
  }

  const TileArgs& a_;
  Gathered& gathered_;
  const unsigned lane_, begin_;
  unsigned end_;
  unsigned marked_ = 0;  ///< Of them, those whose tile was noted.
  std::uint32_t list_begin_ = 0, first_row_ = 0;
  const Lane* queries_ = nullptr;
};

}  // namespace ivf::detail::gpu

#endif

// The throughput path: a tile of queries stays in shared memory while the rows of a list stream past it, 64 or 128 at a
// time. What passes the queries' thresholds, in registers, is appended to their candidates; in the first round every
// score is kept instead.

#include "backends/gpu/bounds.h"
#include "backends/gpu/kernels.h"
#include "backends/gpu/matrix_unit.h"

namespace ivf::detail::gpu {
namespace {

extern __shared__ __align__(256) char dynamic_memory[];

constexpr unsigned chunk_steps = 8;  // Of 16 dimensions: what a stage holds of a row.
constexpr unsigned block_bytes = block_values * 2;
constexpr unsigned chunk_bytes = chunk_steps * block_bytes;  // Of a group of 8 rows.

/// Of each query of a tile, in shared memory.
struct Lane {
  float threshold, scale_offset, error;
  std::uint32_t query, base, begin, end;
};

/// query_blocks: groups of 8 queries of a warp; row_blocks: groups of 16 rows of a warp; warps along queries and rows.
template <int query_blocks_, int row_blocks_, int query_warps_, int row_warps_, int stages_>
struct Shape {
  static constexpr int query_blocks = query_blocks_, row_blocks = row_blocks_, query_warps = query_warps_,
                       row_warps = row_warps_, stages = stages_;
  static constexpr int threads = query_warps * row_warps * warp_lanes;
  static constexpr int queries = query_blocks * query_warps * 8;
  static constexpr int rows = row_blocks * row_warps * 16;
  static constexpr int blocks = threads <= 128 ? 2 : 1;  // A multiprocessor.
  static constexpr int stage_rows_bytes = rows / 8 * chunk_bytes;
  static constexpr int stage_queries_bytes = queries / 8 * chunk_bytes;
  static constexpr int blocks_together = query_blocks < 2 ? query_blocks : 2;
  // Survivors that a warp gathers before it appends them: those of two products, and a few from before.
  static constexpr int gathered = (blocks_together * 4 + 1) * warp_lanes;
};

template <class S>
std::size_t tile_bytes(unsigned steps, bool resident) {
  std::size_t bytes =
      static_cast<std::size_t>(S::stages) * (S::stage_rows_bytes + (resident ? 0 : S::stage_queries_bytes));
  if (resident) bytes += static_cast<std::size_t>(S::queries / 8) * steps * block_bytes;
  bytes += S::queries * sizeof(Lane);
  bytes += static_cast<std::size_t>(S::query_warps * S::row_warps) * S::gathered * 8;
  return bytes;
}

__device__ inline Pair pair_of(const TileArgs& a, std::uint32_t index) {
  return a.items == nullptr ? Pair{index, 0, a.first, a.last} : a.pairs[index];
}

__device__ inline Item item_of(const TileArgs& a, std::uint32_t index, std::uint32_t tiles, unsigned tile) {
  if (a.items != nullptr) return a.items[index];
  // Tiles of one slice follow each other: they read the same rows.
  const std::uint32_t slice = index / tiles, first = index % tiles * tile;
  const std::uint32_t row = a.first + slice * a.slice_rows;
  return {0, first, min(tile, a.nq - first), row, min(a.last, row + a.slice_rows)};
}

template <class S, bool all_scores>
__global__ __launch_bounds__(S::threads, S::blocks) void tiles(TileArgs a, bool resident) {
  __shared__ std::uint32_t next_item, row_begin, row_end;
  const unsigned steps = a.corpus.steps, lane = threadIdx.x % warp_lanes, warp = threadIdx.x / warp_lanes;
  const unsigned query_warp = warp % S::query_warps, row_warp = warp / S::query_warps;
  const unsigned stage_bytes = S::stage_rows_bytes + (resident ? 0 : S::stage_queries_bytes);
  char* stages = dynamic_memory;
  char* queries = stages + S::stages * stage_bytes;
  Lane* lanes = reinterpret_cast<Lane*>(queries + (resident ? S::queries / 8 * steps * block_bytes : 0));
  uint2* gathered = reinterpret_cast<uint2*>(lanes + S::queries) + warp * S::gathered;
  const std::uint32_t tiles_of_slice = (a.nq + S::queries - 1) / S::queries;
  const std::uint32_t items =
      a.items != nullptr ? *a.item_count : tiles_of_slice * ((a.last - a.first + a.slice_rows - 1) / a.slice_rows);
  const unsigned chunks = (steps + chunk_steps - 1) / chunk_steps;

  for (std::uint32_t index = blockIdx.x; index < items;) {
    const Item item = item_of(a, index, tiles_of_slice, S::queries);
    if (threadIdx.x == 0) {
      next_item = gridDim.x + atomicAdd(a.ticket, 1u);
      row_begin = 0xffffffffu;
      row_end = 0;
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < S::queries; i += S::threads) {
      Lane l{INFINITY, 0, 0, 0xffffffffu, 0, 0, 0};
      if (i < item.pairs) {
        const Pair pair = pair_of(a, item.first_pair + i);
        const ScoreBounds bounds = score_bounds(a.info[pair.query], a.corpus.residuals[item.list],
                                                a.corpus.norms[item.list], a.corpus.inner_product);
        l = {0, bounds.offset, bounds.error, pair.query, pair.base, pair.begin, pair.end};
        if (!all_scores) l.threshold = bounds.threshold(a.candidates.limits[pair.query]);
        atomicMin(&row_begin, pair.begin);
        atomicMax(&row_end, pair.end);
      }
      lanes[i] = l;
    }
    __syncthreads();
    index = next_item;
    const std::uint32_t first = max(item.first_row, row_begin) / group_rows * group_rows;
    const std::uint32_t last = min(item.last_row, row_end);
    const std::uint32_t list_begin = a.corpus.begins[item.list];
    if (first >= last) {
      __syncthreads();  // The next item writes what was just read.
      continue;
    }
    const unsigned total = (last - first + S::rows - 1) / S::rows * chunks;

    const auto copy_queries = [&](char* to, unsigned first_step, unsigned count, unsigned stride) {
      const unsigned units = count * 2;  // Of 16 bytes, a query.
      for (unsigned i = threadIdx.x; i < S::queries * units; i += S::threads) {
        const unsigned query = i / units, unit = i % units, r = query % 8;
        const std::uint32_t from = lanes[query].query;
        // Lanes without a query multiply another's: their products are never looked at.
        const std::uint16_t* source = a.queries +
                                      (from == 0xffffffffu ? 0 : static_cast<std::size_t>(from)) * steps * step_dims +
                                      first_step * step_dims + unit * 8;
        copy_16(to + query / 8 * stride + unit / 2 * block_bytes + r * 32 + (((unit & 1) ^ (r >> 2)) << 4), source);
      }
    };
    const auto copy_stage = [&](unsigned number) {
      if (number < total) {
        const unsigned chunk = number % chunks, first_step = chunk * chunk_steps;
        const unsigned count = min(chunk_steps, steps - first_step);
        const std::uint32_t row = first + number / chunks * S::rows;
        const unsigned groups = min(static_cast<unsigned>(S::rows) / 8, (last - row + 7) / 8);
        char* stage = stages + number % S::stages * stage_bytes;
        const char* from =
            reinterpret_cast<const char*>(a.corpus.hi) +
            (static_cast<std::size_t>((list_begin + row) / group_rows) * steps + first_step) * block_bytes;
        const unsigned units = count * (block_bytes / 16);
        for (unsigned i = threadIdx.x; i < groups * units; i += S::threads) {
          const unsigned group = i / units, unit = i % units;
          copy_16(stage + group * chunk_bytes + unit * 16,
                  from + static_cast<std::size_t>(group) * steps * block_bytes + unit * 16);
        }
        if (!resident) copy_queries(stage + S::stage_rows_bytes, first_step, count, chunk_bytes);
      }
      commit_copies();
    };

    if (resident) copy_queries(queries, 0, steps, steps * block_bytes);
#pragma unroll
    for (int i = 0; i < S::stages - 1; ++i) copy_stage(i);

    float thresholds[S::query_blocks][2];
#pragma unroll
    for (int n = 0; n < S::query_blocks; ++n) {
#pragma unroll
      for (int j = 0; j < 2; ++j)
        thresholds[n][j] = lanes[(query_warp * S::query_blocks + n) * 8 + lane % 4 * 2 + j].threshold;
    }
    const float scale = a.corpus.inner_product ? -1.0f : -2.0f;
    float sums[S::row_blocks][S::query_blocks][4];
    float halves[S::row_blocks][2];
    unsigned have = 0;  // Survivors gathered by the warp.

    // Appends what was gathered: (v, row of the item's list, lane).
    const auto append = [&] {
#if !defined(IVF_HIP)
      __syncwarp();
#endif
      for (unsigned i = lane; i < have; i += warp_lanes) {
        const uint2 one = gathered[i];
        const Lane& l = lanes[one.y & 0xffu];
        const std::uint32_t row = first + (one.y >> 8);
        if (row < l.begin || row >= l.end) continue;
        const float v = __uint_as_float(one.x), middle = fmaf(scale, v, l.scale_offset);
        const std::uint32_t place = atomicAdd(a.candidates.counts + l.query, 1u);
        if (place >= a.candidates.capacity) continue;
        const std::size_t to = static_cast<std::size_t>(l.query) * a.candidates.capacity + place;
        const float lower = middle - l.error, upper = middle + l.error;
        const bool known = upper == upper;
        a.candidates.bounds[to] = {known ? lower : -INFINITY, known ? upper : INFINITY};
        a.candidates.rows[to] = list_begin + row;
      }
      have = 0;
#if !defined(IVF_HIP)
      __syncwarp();
#endif
    };

    for (unsigned number = 0; number < total; ++number) {
      wait_copies<S::stages - 2>();
      __syncthreads();
      copy_stage(number + S::stages - 1);
      const unsigned chunk = number % chunks;
      const unsigned count = min(chunk_steps, steps - chunk * chunk_steps);
      const std::uint32_t tile_row = first + number / chunks * S::rows + row_warp * S::row_blocks * 16;
      if (chunk == 0) {
#pragma unroll
        for (int m = 0; m < S::row_blocks; ++m) {
#pragma unroll
          for (int n = 0; n < S::query_blocks; ++n) sums[m][n][0] = sums[m][n][1] = sums[m][n][2] = sums[m][n][3] = 0;
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const std::uint32_t row = tile_row + m * 16 + j * 8 + lane / 4;
            halves[m][j] = row < last ? a.corpus.halves[list_begin + row] : INFINITY;
          }
        }
      }
      const char* stage = stages + number % S::stages * stage_bytes;
      const char* rows_at = stage + row_warp * S::row_blocks * 2 * chunk_bytes;
      const unsigned query_stride = resident ? steps * block_bytes : chunk_bytes;
      const char* queries_at = (resident ? queries + chunk * chunk_bytes : stage + S::stage_rows_bytes) +
                               query_warp * S::query_blocks * query_stride;
      const auto step = [&](unsigned s) {
        RowOperand x[S::row_blocks];
        QueryOperand y[S::query_blocks];
        if constexpr (S::query_blocks == 1) {
          load_queries(y, queries_at + s * block_bytes, query_stride);
        } else {
          load_queries<S::query_blocks / 2>(y, queries_at + s * block_bytes, query_stride);
        }
#pragma unroll
        for (int m = 0; m < S::row_blocks; ++m)
          load_rows(x[m], rows_at + m * 2 * chunk_bytes + s * block_bytes, chunk_bytes);
#pragma unroll
        for (int m = 0; m < S::row_blocks; ++m) {
#pragma unroll
          for (int n = 0; n < S::query_blocks; ++n) multiply(sums[m][n], x[m], y[n]);
        }
      };
      if (count == chunk_steps) {
#pragma unroll
        for (unsigned s = 0; s < chunk_steps; ++s) step(s);
      } else {
        for (unsigned s = 0; s < count; ++s) step(s);
      }
      if (chunk + 1 != chunks) continue;

      if constexpr (all_scores) {
#pragma unroll
        for (int n = 0; n < S::query_blocks; ++n) {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const Lane& l = lanes[(query_warp * S::query_blocks + n) * 8 + lane % 4 * 2 + j];
            float* scores = a.scores + static_cast<std::size_t>(l.query) * a.score_stride + l.base;
#pragma unroll
            for (int m = 0; m < S::row_blocks; ++m) {
#pragma unroll
              for (int i = 0; i < 2; ++i) {
                const std::uint32_t row = tile_row + m * 16 + i * 8 + lane / 4;
                if (row >= l.begin && row < min(l.end, last))
                  scores[row] = fmaf(scale, sums[m][n][i * 2 + j] - halves[m][i], l.scale_offset) + l.error;
              }
            }
          }
        }
      } else {
        const unsigned below = (1u << lane) - 1;
#pragma unroll
        for (int m = 0; m < S::row_blocks; ++m) {
#pragma unroll
          for (int n = 0; n < S::query_blocks; ++n) {
            float v[4];
            bool passes[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              v[i] = sums[m][n][i] - halves[m][i / 2];
              passes[i] = !(v[i] < thresholds[n][i % 2]);  // NaN passes.
            }
            if (ballot(passes[0] || passes[1] || passes[2] || passes[3]) != 0) {
#pragma unroll
              for (int i = 0; i < 4; ++i) {
                const unsigned votes = ballot(passes[i]);
                if (votes == 0) continue;
                if (passes[i]) {
                  const unsigned row = tile_row - first + m * 16 + i / 2 * 8 + lane / 4;
                  const unsigned of = (query_warp * S::query_blocks + n) * 8 + lane % 4 * 2 + i % 2;
                  gathered[have + __popc(votes & below)] = {__float_as_uint(v[i]), row << 8 | of};
                }
                have += __popc(votes);
              }
            }
            if ((n + 1) % S::blocks_together == 0 && have > warp_lanes) append();
          }
        }
      }
    }
    if constexpr (!all_scores) append();
    wait_copies<0>();
    __syncthreads();
  }
}

using Shape256 = Shape<4, 4, 8, 1, 3>;
using Shape128 = Shape<4, 4, 4, 1, 3>;
using Shape64 = Shape<4, 2, 2, 2, 3>;
using Shape32 = Shape<4, 1, 1, 4, 4>;
using Shape16 = Shape<2, 1, 1, 4, 4>;
using Shape8 = Shape<1, 1, 1, 4, 4>;

template <class S>
bool fits(unsigned steps, std::size_t shared_limit) {
  return tile_bytes<S>(steps, true) <= shared_limit || tile_bytes<S>(steps, false) <= shared_limit;
}

template <class S>
void launch_shape(const TileArgs& args, Stream stream) {
  // The queries stay where they fit, and are copied with every chunk of the rows where they do not.
  const bool resident = tile_bytes<S>(args.corpus.steps, true) <= args.shared_limit;
  const std::size_t bytes = tile_bytes<S>(args.corpus.steps, resident);
  const auto launch = [&](auto kernel) {
    check_status(IVF_GPU(FuncSetAttribute)(reinterpret_cast<const void*>(kernel),
                                           IVF_GPU(FuncAttributeMaxDynamicSharedMemorySize), static_cast<int>(bytes)),
                 "shared memory");
    int blocks = 0;
    check_status(IVF_GPU(OccupancyMaxActiveBlocksPerMultiprocessor)(&blocks, kernel, S::threads, bytes), "occupancy");
    const unsigned grid = static_cast<unsigned>(blocks < 1 ? 1 : blocks) * args.multiprocessors;
    kernel<<<grid, S::threads, bytes, stream>>>(args, resident);
    check_launch("tiles");
  };
  if (args.scores != nullptr) {
    launch(tiles<S, true>);
  } else {
    launch(tiles<S, false>);
  }
}

}  // namespace

unsigned fitting_tile(unsigned wanted, unsigned steps, std::size_t shared_limit) {
  if (wanted >= 256 && fits<Shape256>(steps, shared_limit)) return 256;
  if (wanted >= 128 && fits<Shape128>(steps, shared_limit)) return 128;
  if (wanted >= 64 && fits<Shape64>(steps, shared_limit)) return 64;
  if (wanted >= 32 && fits<Shape32>(steps, shared_limit)) return 32;
  if (wanted >= 16 && fits<Shape16>(steps, shared_limit)) return 16;
  return 8;
}

void launch_tiles(const TileArgs& args, Stream stream) {
  switch (args.query_tile) {
    case 256:
      return launch_shape<Shape256>(args, stream);
    case 128:
      return launch_shape<Shape128>(args, stream);
    case 64:
      return launch_shape<Shape64>(args, stream);
    case 32:
      return launch_shape<Shape32>(args, stream);
    case 16:
      return launch_shape<Shape16>(args, stream);
    default:
      return launch_shape<Shape8>(args, stream);
  }
}

}  // namespace ivf::detail::gpu

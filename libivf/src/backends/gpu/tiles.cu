// The throughput path: a tile of queries stays in shared memory while the rows of a list stream past it, 64 or 128 at a
// time. What passes the queries' thresholds, in registers, is appended to their candidates; in the first round every
// score is kept instead.

#include <utility>

#include "backends/gpu/tile_parts.h"

namespace ivf::detail::gpu {
namespace {

IVF_DYNAMIC_MEMORY(256, dynamic_memory);

/// query_blocks: groups of 8 queries of a warp; row_blocks: groups of 16 rows of a warp; warps along queries and rows;
/// stages: pieces of rows in flight; blocks: of a multiprocessor, for the compiler's choice of registers.
template <int query_blocks_, int row_blocks_, int query_warps_, int row_warps_, int stages_, int blocks_>
struct Shape {
  static constexpr int query_blocks = query_blocks_, row_blocks = row_blocks_, query_warps = query_warps_,
                       row_warps = row_warps_, stages = stages_, blocks = blocks_;
  static constexpr int threads = query_warps * row_warps * warp_lanes;
  static constexpr int queries = query_blocks * query_warps * 8;
  static constexpr int rows = row_blocks * row_warps * 16;
  static constexpr int stage_rows_bytes = rows / 8 * chunk_bytes;
  static constexpr int stage_queries_bytes = queries / 8 * chunk_bytes;
};

template <class S>
using SurvivorsOf = Survivors<S::query_blocks, S::row_blocks, S::rows, S::query_blocks == 1 ? 1 : 2, 7>;

template <class S>
std::size_t tile_bytes(unsigned steps, bool resident, bool all_scores) {
  std::size_t bytes =
      static_cast<std::size_t>(S::stages) * (S::stage_rows_bytes + (resident ? 0 : S::stage_queries_bytes));
  if (resident) bytes += static_cast<std::size_t>(S::queries / 8) * steps * block_bytes;
  return bytes + S::queries * sizeof(Lane) +
         (all_scores ? 0 : S::query_warps * S::row_warps * sizeof(typename SurvivorsOf<S>::Memory));
}

/// Rows [first, first + rows) of a group-aligned range, steps [first_step, first_step + count), into a stage. A thread
/// copies the same 16 bytes of every few groups.
template <class S>
__device__ inline void copy_rows(const CorpusView& c, std::uint32_t first, std::uint32_t rows, unsigned first_step,
                                 unsigned count, char* stage) {
  constexpr unsigned units = chunk_bytes / 16;
  static_assert(S::threads % units == 0);
  const unsigned unit = threadIdx.x % units;
  if (unit >= count * (block_bytes / 16)) return;
  const char* from = reinterpret_cast<const char*>(c.hi) +
                     (static_cast<std::size_t>(first / group_rows) * c.steps + first_step) * block_bytes + unit * 16;
  const unsigned groups = min(static_cast<unsigned>(S::rows) / group_rows, (rows + group_rows - 1) / group_rows);
#pragma unroll 4
  for (unsigned group = threadIdx.x / units; group < groups; group += S::threads / units)
    copy_16(stage + group * chunk_bytes + unit * 16, from + static_cast<std::size_t>(group) * c.steps * block_bytes);
}

/// The same steps of the tile's queries, whose groups of 8 are `stride` bytes apart.
template <class S>
__device__ inline void copy_queries(const TileArgs& a, const Lane* lanes, unsigned first_step, unsigned count, char* to,
                                    unsigned stride) {
  constexpr unsigned units = chunk_steps * 2;  // Of 16 bytes, a query.
  const unsigned unit = threadIdx.x % units;
  if (unit >= count * 2) return;
#pragma unroll 4
  for (unsigned query = threadIdx.x / units; query < S::queries; query += S::threads / units) {
    const std::uint32_t from = lanes[query].query;
    char* place = to + query_place(query, unit, stride);
    if (from == no_query) {
      clear_16(place);
    } else {
      copy_16(place, a.queries + (static_cast<std::size_t>(from) * a.corpus.steps + first_step) * step_dims + unit * 8);
    }
  }
}

template <class S, bool all_scores>
__global__ __launch_bounds__(S::threads, S::blocks) void tiles(TileArgs a, bool resident) {
  await_previous();
  __shared__ std::uint32_t next_item;
  const unsigned steps = a.corpus.steps, lane = threadIdx.x % warp_lanes, warp = threadIdx.x / warp_lanes;
  const unsigned query_warp = warp % S::query_warps, row_warp = warp / S::query_warps;
  const unsigned stage_bytes = S::stage_rows_bytes + (resident ? 0 : S::stage_queries_bytes);
  char* stages = dynamic_memory;
  char* queries = stages + S::stages * stage_bytes;
  Lane* lanes = reinterpret_cast<Lane*>(queries + (resident ? S::queries / 8 * steps * block_bytes : 0));
  const std::uint32_t tiles_of_slice = (a.nq + S::queries - 1) / S::queries;
  const std::uint32_t items = item_count(a, tiles_of_slice);
  const unsigned chunks = (steps + chunk_steps - 1) / chunk_steps;
  SurvivorsOf<S> survivors(a, reinterpret_cast<typename SurvivorsOf<S>::Memory*>(lanes + S::queries)[warp]);

  for (std::uint32_t index = blockIdx.x; index < items;) {
    const Item item = item_of(a, index, tiles_of_slice, S::queries);
    const std::uint32_t first = item.first_row, last = item.last_row;
    const std::uint32_t list_begin = a.corpus.begins[item.list];
    const unsigned total = (last - first + S::rows - 1) / S::rows * chunks;
    if (threadIdx.x == 0) next_item = gridDim.x + atomicAdd(a.ticket, 1u);

    // Pieces of rows are numbered: the row tile and the chunk of dimensions of the next to be copied.
    unsigned copied = 0, copied_chunk = 0, copied_slot = 0;
    std::uint32_t copied_row = first;
    const auto copy_stage = [&] {
      if (copied >= total) return;
      const unsigned first_step = copied_chunk * chunk_steps, count = min(chunk_steps, steps - first_step);
      copy_rows<S>(a.corpus, list_begin + copied_row, last - copied_row, first_step, count,
                   stages + copied_slot * stage_bytes);
    };
    const auto copy_stage_queries = [&] {
      if (resident || copied >= total) return;
      const unsigned first_step = copied_chunk * chunk_steps, count = min(chunk_steps, steps - first_step);
      copy_queries<S>(a, lanes, first_step, count, stages + copied_slot * stage_bytes + S::stage_rows_bytes,
                      chunk_bytes);
    };
    const auto next_stage = [&] {
      commit_copies();
      ++copied;
      if (++copied_slot == S::stages) copied_slot = 0;
      if (++copied_chunk == chunks) {
        copied_chunk = 0;
        copied_row += S::rows;
      }
    };
    copy_stage();  // On its way while the queries are described.

    for (unsigned i = threadIdx.x; i < S::queries; i += S::threads) lanes[i] = lane_of<all_scores>(a, item, i);
    __syncthreads();
    index = next_item;
    if (resident) {
      for (unsigned chunk = 0; chunk < chunks; ++chunk) {
        copy_queries<S>(a, lanes, chunk * chunk_steps, min(chunk_steps, steps - chunk * chunk_steps),
                        queries + chunk * chunk_bytes, steps * block_bytes);
      }
    }
    copy_stage_queries();
    next_stage();
#pragma unroll
    for (int i = 1; i < S::stages - 1; ++i) {
      copy_stage();
      copy_stage_queries();
      next_stage();
    }

    float thresholds[S::query_blocks][2];
#pragma unroll
    for (int n = 0; n < S::query_blocks; ++n) {
#pragma unroll
      for (int j = 0; j < 2; ++j)
        thresholds[n][j] = lanes[(query_warp * S::query_blocks + n) * 8 + lane % 4 * 2 + j].threshold;
    }
    float sums[S::row_blocks * S::query_blocks][4];
    float halves[S::row_blocks][2];
    survivors.start(list_begin, first + row_warp * S::row_blocks * 16, lanes + query_warp * S::query_blocks * 8);

    unsigned chunk = 0, slot = 0, tile = 0;
    std::uint32_t row_of_tile = first;
    for (unsigned number = 0; number < total; ++number) {
      wait_copies<S::stages - 2>();
      __syncthreads();
      copy_stage();
      copy_stage_queries();
      next_stage();
      const unsigned count = min(chunk_steps, steps - chunk * chunk_steps);
      const std::uint32_t tile_row = row_of_tile + row_warp * S::row_blocks * 16;
      if (chunk == 0) {
#pragma unroll
        for (int m = 0; m < S::row_blocks; ++m) {
#pragma unroll
          for (int n = 0; n < S::query_blocks; ++n) {
#pragma unroll
            for (float& sum : sums[m * S::query_blocks + n]) sum = 0;
          }
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const std::uint32_t row = tile_row + m * 16 + j * 8 + lane / 4;
            halves[m][j] = row < last ? a.corpus.halves[list_begin + row] : INFINITY;
          }
        }
      }
      const char* stage = stages + slot * stage_bytes;
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
          for (int n = 0; n < S::query_blocks; ++n) multiply(sums[m * S::query_blocks + n], x[m], y[n]);
        }
      };
      if (count == chunk_steps) {
#pragma unroll
        for (unsigned s = 0; s < chunk_steps; ++s) step(s);
      } else {
        for (unsigned s = 0; s < count; ++s) step(s);
      }
      if (++slot == S::stages) slot = 0;
      if (++chunk != chunks) continue;
      chunk = 0;
      row_of_tile += S::rows;

      if constexpr (all_scores) {
#pragma unroll
        for (int n = 0; n < S::query_blocks; ++n) {
#pragma unroll
          for (int m = 0; m < S::row_blocks; ++m) {
            write_scores(a, lanes + (query_warp * S::query_blocks + n) * 8 + lane % 4 * 2, tile_row + m * 16 + lane / 4,
                         last, sums[m * S::query_blocks + n], halves[m]);
          }
        }
      } else {
        survivors.look_through(sums, halves, thresholds, tile);
      }
      ++tile;
    }
    if constexpr (!all_scores) survivors.append();
    wait_copies<0>();
    __syncthreads();  // The next item writes what was just read.
  }
}

using Shape256 = Shape<4, 2, 8, 2, 3, 1>;
using Shape128 = Shape<4, 2, 4, 2, 3, 2>;
using Shape64 = Shape<4, 2, 2, 2, 2, 4>;
using Shape32 = Shape<4, 1, 1, 4, 3, 4>;
using Shape16 = Shape<2, 1, 1, 4, 3, 4>;
using Shape8 = Shape<1, 1, 1, 4, 3, 4>;

template <class S>
bool fits(unsigned steps, std::size_t shared_limit) {
  return tile_bytes<S>(steps, true, false) <= shared_limit || tile_bytes<S>(steps, false, false) <= shared_limit;
}

template <class S>
void launch_shape(const TileArgs& args, Stream stream) {
  // The queries stay where they fit, and are copied with every chunk of the rows where they do not.
  const bool resident = tile_bytes<S>(args.corpus.steps, true, false) <= args.shared_limit;
  const std::size_t bytes = tile_bytes<S>(args.corpus.steps, resident, args.scores != nullptr);
  const auto launch = [&](auto kernel) {
    allow_shared(kernel, bytes);
    int blocks = 0;
    check_status(IVF_GPU(OccupancyMaxActiveBlocksPerMultiprocessor)(&blocks, kernel, S::threads, bytes), "occupancy");
    const unsigned grid = static_cast<unsigned>(blocks < 1 ? 1 : blocks) * args.multiprocessors;
    launch_next_kernel(kernel, grid, S::threads, bytes, stream, args, resident);
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

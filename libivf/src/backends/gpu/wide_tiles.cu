// The throughput path on sm_90a: a block that stays. One group of warps brings rows and queries into shared memory,
// ahead of the three others, each of which multiplies 64 rows with the tile's queries while its neighbours look through
// what they have got. The roles and their barriers follow CUTLASS's warp-specialised kernels.

#include <algorithm>
#include <utility>

#include "backends/gpu/tile_parts.h"
#include "backends/gpu/warp_group.h"

namespace ivf::detail::gpu {

#if defined(IVF_WARP_GROUPS)
namespace {

IVF_DYNAMIC_MEMORY(256, dynamic_memory);

constexpr unsigned row_tile = 64;
constexpr unsigned consumers = 3;
constexpr unsigned wide_threads = (1 + consumers) * group_threads;
constexpr unsigned halves_bytes = row_tile * sizeof(float);
constexpr unsigned most_stages = 3;  // Of each consumer.

template <unsigned queries>
using SurvivorsOf = Survivors<queries / 8, 1, row_tile, 4, 12>;

/// How the shared memory of a block is divided.
struct WideLayout {
  unsigned piece_bytes;  ///< Of a group of 8 rows in a stage.
  unsigned stage_bytes;
  unsigned stages;      ///< Of each consumer; 0: it does not fit.
  unsigned tiles;       ///< Tiles of queries: 2, where the next is brought while one is used, or 1.
  unsigned tile_bytes;  ///< Queries of a tile.

  /// Where the halves of its rows lie in a stage.
  __host__ __device__ unsigned halves_at() const { return row_tile / group_rows * piece_bytes; }
};

template <unsigned queries>
__host__ __device__ constexpr unsigned fixed_bytes(unsigned tiles) {
  return tiles * queries * static_cast<unsigned>(sizeof(Lane)) +
         consumers * 4 * static_cast<unsigned>(sizeof(typename SurvivorsOf<queries>::Memory)) +
         tiles * static_cast<unsigned>(sizeof(Item)) + (2 * consumers * most_stages + 3 * 2) * 8 + 64;
}

template <unsigned queries>
WideLayout wide_layout(unsigned steps, std::size_t shared_limit) {
  WideLayout l{};
  l.piece_bytes = std::min(steps, chunk_steps) * block_bytes;
  l.stage_bytes = l.halves_at() + halves_bytes;
  l.tile_bytes = queries / group_rows * steps * block_bytes;
  for (l.tiles = 2; l.tiles > 0; --l.tiles) {
    const std::size_t used = std::size_t{l.tiles} * l.tile_bytes + fixed_bytes<queries>(l.tiles);
    if (used >= shared_limit) continue;
    const std::size_t stages = (shared_limit - used) / l.stage_bytes / consumers;
    l.stages = static_cast<unsigned>(std::min<std::size_t>(most_stages, stages));
    if (l.stages != 0) return l;
  }
  l.stages = 0;
  return l;
}

template <unsigned queries>
std::size_t wide_bytes(const WideLayout& l) {
  return std::size_t{consumers} * l.stages * l.stage_bytes + std::size_t{l.tiles} * l.tile_bytes +
         fixed_bytes<queries>(l.tiles);
}

/// The block's shared memory.
template <unsigned queries>
struct WideShared {
  unsigned stages, tiles;  ///< Addresses in shared memory.
  char* tile_memory;
  const char* stage_memory;
  typename SurvivorsOf<queries>::Memory* survivors;
  Lane* lanes;
  Item* items;                                       ///< Of each tile of queries; pairs == 0: no more.
  unsigned row_full, row_empty, known, full, empty;  ///< Barriers: of stages, and of tiles of queries.

  __device__ explicit WideShared(const WideLayout& l) {
    char* at = dynamic_memory;
    stage_memory = at;
    at += consumers * l.stages * l.stage_bytes;
    tile_memory = at;
    at += l.tiles * l.tile_bytes;
    survivors = reinterpret_cast<typename SurvivorsOf<queries>::Memory*>(at);
    at += consumers * 4 * sizeof(typename SurvivorsOf<queries>::Memory);
    const unsigned barriers = (shared_address(at) + 7) / 8 * 8;
    row_full = barriers;
    row_empty = row_full + consumers * most_stages * 8;
    known = row_empty + consumers * most_stages * 8;
    full = known + 2 * 8;
    empty = full + 2 * 8;
    at += (2 * consumers * most_stages + 3 * 2) * 8 + 8;
    lanes = reinterpret_cast<Lane*>(at);
    at += l.tiles * queries * sizeof(Lane);
    items = reinterpret_cast<Item*>(at);
    stages = shared_address(stage_memory);
    tiles = shared_address(tile_memory);
  }
};

#if defined(IVF_SM90)

constexpr unsigned query_threads = 3 * warp_lanes;  // That bring queries; the first warp of their group brings rows.

/// A place in a ring and the parity of its turn.
struct Turn {
  unsigned slot = 0, parity = 0;
  __device__ void advance(unsigned slots) {
    if (++slot < slots) return;
    slot = 0;
    parity ^= 1;
  }
};

/// Brings the queries of one item after the other: their description, and their operands in blocks.
template <unsigned queries, bool all_scores>
__device__ void bring_queries(const TileArgs& a, const WideLayout& l, const WideShared<queries>& s) {
  const unsigned thread = threadIdx.x - warp_lanes, steps = a.corpus.steps;
  const std::uint32_t tiles = (a.nq + queries - 1) / queries, items = item_count(a, tiles);
  // What comes next is asked for one item ahead.
  std::uint32_t index = blockIdx.x, next = 0;
  Item item{};
  if (thread == 0 && index < items) item = item_of(a, index, tiles, queries);
  for (Turn turn;; turn.advance(l.tiles)) {
    wait(s.empty + turn.slot * 8, turn.parity ^ 1);
    if (thread == 0) {
      if (index >= items) item.pairs = 0;
      s.items[turn.slot] = item;
      arrive(s.known + turn.slot * 8);
      if (item.pairs != 0) next = gridDim.x + atomicAdd(a.ticket, 1u);
    }
    sync_some<1, query_threads>();
    const Item now = s.items[turn.slot];
    if (now.pairs == 0) {
      arrive(s.full + turn.slot * 8);
      return;
    }
    Lane* lanes = s.lanes + turn.slot * queries;
    for (unsigned i = thread; i < queries; i += query_threads) lanes[i] = lane_of<all_scores>(a, now, i);
    if (thread == 0) {
      index = next;
      if (index < items) item = item_of(a, index, tiles, queries);
    }
    sync_some<1, query_threads>();
    char* to = s.tile_memory + turn.slot * l.tile_bytes;
    const unsigned units = steps * 2, stride = steps * block_bytes;
    for (unsigned i = thread; i < queries * units; i += query_threads) {
      const unsigned query = i / units, unit = i % units;
      const std::uint32_t from = lanes[query].query;
      char* place = to + query_place(query, unit, stride);
      if (from == no_query) {
        clear_16(place);
      } else {
        copy_16(place, a.queries + static_cast<std::size_t>(from) * steps * step_dims + unit * 8);
      }
    }
    commit_copies();
    wait_copies<0>();
    settle_accesses();
    arrive(s.full + turn.slot * 8);
  }
}

/// Brings the rows of one item after the other, in pieces of 64 rows by up to 128 dimensions, to each consumer in turn.
/// One thread.
template <unsigned queries>
__device__ void bring_rows(const TileArgs& a, const WideLayout& l, const WideShared<queries>& s) {
  const unsigned steps = a.corpus.steps, chunks = (steps + chunk_steps - 1) / chunk_steps;
  const auto* plane = reinterpret_cast<const char*>(a.corpus.hi);
  Turn round;  // Of every consumer's stages, for its next tile of rows.
  unsigned consumer = 0;
  for (Turn turn;; turn.advance(l.tiles)) {
    wait(s.known + turn.slot * 8, turn.parity);
    const Item item = s.items[turn.slot];
    arrive(s.empty + turn.slot * 8);
    if (item.pairs == 0) return;
    const std::size_t begin = a.corpus.begins[item.list];
    for (std::uint32_t row = item.first_row; row < item.last_row; row += row_tile) {
      const unsigned groups = min(row_tile, item.last_row - row + group_rows - 1) / group_rows;
      const char* from = plane + (begin + row) / group_rows * steps * block_bytes;
      Turn stage = round;
      for (unsigned chunk = 0; chunk < chunks; ++chunk, stage.advance(l.stages)) {
        const unsigned slot = consumer * l.stages + stage.slot;
        const unsigned to = s.stages + slot * l.stage_bytes, barrier = s.row_full + slot * 8;
        const unsigned bytes = min(chunk_steps, steps - chunk * chunk_steps) * block_bytes;
        const bool last = chunk + 1 == chunks;
        wait(s.row_empty + slot * 8, stage.parity ^ 1);
        arrive_expecting(barrier, groups * bytes + (last ? halves_bytes : 0));
        if (chunks == 1) {
          copy_bulk(to, from, groups * bytes, barrier);
        } else {
          for (unsigned group = 0; group < groups; ++group) {
            copy_bulk(to + group * l.piece_bytes,
                      from + static_cast<std::size_t>(group) * steps * block_bytes + chunk * chunk_bytes, bytes,
                      barrier);
          }
        }
        if (last) copy_bulk(to + l.halves_at(), a.corpus.halves + begin + row, halves_bytes, barrier);
      }
      if (++consumer < consumers) continue;
      consumer = 0;
      round = stage;
    }
  }
}

/// The same value in all lanes, and the compiler knows it: products must not lie on what it takes for divergent paths.
__device__ inline unsigned uniform(unsigned value) { return shuffle(value, 0); }

/// Multiplies every third tile of 64 rows, counted over all items, and keeps what has to be kept.
template <unsigned queries, bool all_scores>
__device__ void multiply_rows(const TileArgs& a, const WideLayout& l, const WideShared<queries>& s, unsigned consumer) {
  constexpr int blocks = queries / 8;
  const unsigned warp = threadIdx.x / warp_lanes % 4, lane = threadIdx.x % warp_lanes;
  const unsigned steps = a.corpus.steps, chunks = (steps + chunk_steps - 1) / chunk_steps;
  SurvivorsOf<queries> survivors(a, s.survivors[consumer * 4 + warp]);
  Turn stage;
  unsigned passed = 0;  // Tiles of rows, of all items, modulo the number of consumers.
  for (Turn turn;; turn.advance(l.tiles)) {
    wait(s.full + turn.slot * 8, turn.parity);
    const Item item = s.items[turn.slot];
    if (uniform(item.pairs) == 0) return;
    const unsigned rows = uniform(item.last_row - item.first_row), tiles = (rows + row_tile - 1) / row_tile;
    const Lane* lanes = s.lanes + turn.slot * queries;
    const unsigned tile_at = s.tiles + turn.slot * l.tile_bytes;
    float thresholds[blocks][2];
#pragma unroll
    for (int n = 0; n < blocks; ++n) {
#pragma unroll
      for (int j = 0; j < 2; ++j) thresholds[n][j] = all_scores ? 0 : lanes[n * 8 + lane % 4 * 2 + j].threshold;
    }
    survivors.start(a.corpus.begins[item.list], item.first_row + warp * 16, lanes);
    for (unsigned tile = (consumer + consumers - passed) % consumers; tile < tiles; tile += consumers) {
      float sums[blocks][4];
      float halves[1][2];
      const std::uint32_t row = tile * row_tile + warp * 16 + lane / 4;  // In the item.
      for (unsigned chunk = 0; chunk < chunks; ++chunk, stage.advance(l.stages)) {
        const unsigned first_step = chunk * chunk_steps, slot = consumer * l.stages + stage.slot;
        wait(s.row_full + slot * 8, stage.parity);
        const std::uint64_t row_operand = operand_at(s.stages + slot * l.stage_bytes, l.piece_bytes);
        const std::uint64_t query_operand = operand_at(tile_at + first_step * block_bytes, steps * block_bytes);
        constexpr std::uint64_t next_step = block_bytes >> 4;
        begin_products();
        if (steps - first_step >= chunk_steps) {
#pragma unroll
          for (unsigned step = 0; step < chunk_steps; ++step)
            multiply_group(sums, row_operand + step * next_step, query_operand + step * next_step, (chunk | step) != 0);
        } else {
          for (unsigned step = 0; step < steps - first_step; ++step)
            multiply_group(sums, row_operand + step * next_step, query_operand + step * next_step, (chunk | step) != 0);
        }
        finish_products(sums);
        if (chunk + 1 == chunks) {
          const auto* from = reinterpret_cast<const float*>(s.stage_memory + slot * l.stage_bytes + l.halves_at()) +
                             warp * 16 + lane / 4;
          halves[0][0] = row < rows ? from[0] : INFINITY;
          halves[0][1] = row + 8 < rows ? from[8] : INFINITY;
        }
        // Each thread for itself, and what it has read must not be overtaken by the next copy, which is not of the
        // proxy that it reads by: one arrival a warp let copies through that some lanes' reads were still waiting for.
        settle_accesses();
        arrive(s.row_empty + slot * 8);
      }
      if constexpr (all_scores) {
#pragma unroll
        for (int n = 0; n < blocks; ++n)
          write_scores(a, lanes + n * 8 + lane % 4 * 2, item.first_row + row, item.last_row, sums[n], halves[0]);
      } else {
        survivors.look_through(sums, halves, thresholds, tile);
      }
    }
    passed = (passed + tiles) % consumers;
    if constexpr (!all_scores) survivors.append();
    arrive(s.empty + turn.slot * 8);
  }
}

#endif

template <unsigned queries, bool all_scores>
__global__ __launch_bounds__(wide_threads, 1) void wide_tiles(TileArgs a, WideLayout l) {
#if defined(IVF_SM90)
  const WideShared<queries> s(l);
  if (threadIdx.x == 0) {
    for (unsigned i = 0; i < consumers * l.stages; ++i) {
      init_barrier(s.row_full + i * 8, 1);
      init_barrier(s.row_empty + i * 8, group_threads);
    }
    for (unsigned i = 0; i < l.tiles; ++i) {
      init_barrier(s.known + i * 8, 1);
      init_barrier(s.full + i * 8, query_threads);
      init_barrier(s.empty + i * 8, 1 + consumers * group_threads);
    }
    publish_barriers();
  }
  __syncthreads();
  await_previous();
  const unsigned group = uniform(threadIdx.x / group_threads);
  if (group == 0) {
    give_up_registers<56>();
    if (threadIdx.x >= warp_lanes) {
      bring_queries<queries, all_scores>(a, l, s);
    } else if (threadIdx.x == 0) {
      bring_rows<queries>(a, l, s);
    }
  } else {
    take_registers<152>();
    multiply_rows<queries, all_scores>(a, l, s, group - 1);
  }
#endif
}

template <unsigned queries>
void launch_wide(const TileArgs& args, Stream stream) {
  const WideLayout layout = wide_layout<queries>(args.corpus.steps, args.shared_limit);
  const std::size_t bytes = wide_bytes<queries>(layout);
  const auto launch = [&](auto kernel) {
    allow_shared(kernel, bytes);
    launch_next_kernel(kernel, args.multiprocessors, wide_threads, bytes, stream, args, layout);
    check_launch("wide_tiles");
  };
  if (args.scores != nullptr) {
    launch(wide_tiles<queries, true>);
  } else {
    launch(wide_tiles<queries, false>);
  }
}

}  // namespace

bool has_wide_tiles(int major) {
#if defined(IVF_HAVE_SM90A)
  return major == 9;
#else
  static_cast<void>(major);
  return false;
#endif
}

unsigned fitting_wide_tile(unsigned wanted, unsigned steps, std::size_t shared_limit) {
  if (wanted >= 128 && wide_layout<128>(steps, shared_limit).stages != 0) return 128;
  if (wanted >= 64 && wide_layout<64>(steps, shared_limit).stages != 0) return 64;
  return wide_layout<32>(steps, shared_limit).stages != 0 ? 32 : 0;
}

void launch_wide_tiles(const TileArgs& args, Stream stream) {
  switch (args.query_tile) {
    case 128:
      return launch_wide<128>(args, stream);
    case 64:
      return launch_wide<64>(args, stream);
    default:
      return launch_wide<32>(args, stream);
  }
}

#else

bool has_wide_tiles(int) { return false; }
unsigned fitting_wide_tile(unsigned, unsigned, std::size_t) { return 0; }
void launch_wide_tiles(const TileArgs&, Stream) {}

#endif

}  // namespace ivf::detail::gpu

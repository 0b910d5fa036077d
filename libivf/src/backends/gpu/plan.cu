// Grouping of (query, list) pairs by list, and work items.

#include "backends/gpu/plan.h"

namespace ivf::detail::gpu {
namespace {

constexpr unsigned threads = 256;
constexpr unsigned scan_threads = 1024;

__global__ void plan(PlanArgs a) {
  await_previous();
  const std::uint32_t q = blockIdx.x * (threads / warp_lanes) + threadIdx.x / warp_lanes;
  if (q < a.nq) plan_query(a, q);
}

/// Sums before each thread of the block, of two numbers at once; `total` is the sum of all.
__device__ uint2 block_scan(uint2 value, uint2* warps, uint2& total) {
  const unsigned lane = threadIdx.x % warp_lanes, warp = threadIdx.x / warp_lanes;
  const uint2 sum = {warp_prefix(value.x), warp_prefix(value.y)};
  if (lane == warp_lanes - 1) warps[warp] = sum;
  __syncthreads();
  uint2 before = {0, 0}, all = {0, 0};
  for (unsigned w = 0; w < scan_threads / warp_lanes; ++w) {
    if (w == warp) before = all;
    all = {all.x + warps[w].x, all.y + warps[w].y};
  }
  __syncthreads();
  total = all;
  return {before.x + sum.x - value.x, before.y + sum.y - value.y};
}

/// One block a round: where the pairs of each list begin, and the work items.
__global__ __launch_bounds__(scan_threads) void offsets(PlanArgs a) {
  await_previous();
  __shared__ uint2 warps[scan_threads / warp_lanes];
  const unsigned round = blockIdx.x;
  const std::uint32_t* histogram = a.histogram + static_cast<std::size_t>(round) * a.nlist;
  std::uint32_t* begins = a.pair_begins + static_cast<std::size_t>(round) * a.nlist;
  Item* items = a.items + static_cast<std::size_t>(round) * a.item_capacity;
  const unsigned tile = a.rounds.query_tile[round], slice = a.rounds.slice_rows[round];
  uint2 before = {0, 0};
  for (std::uint32_t first = 0; first < a.nlist; first += scan_threads) {
    const std::uint32_t list = first + threadIdx.x;
    const std::uint32_t pairs = list < a.nlist ? histogram[list] : 0;
    const std::uint32_t rows = list < a.nlist ? a.sizes[list] : 0;
    const std::uint32_t tiles = (pairs + tile - 1) / tile, slices = (rows + slice - 1) / slice;
    uint2 total;
    const uint2 mine = block_scan({pairs, tiles * slices}, warps, total);
    if (list < a.nlist) {
      if (a.counters != nullptr && tiles != 0)
        atomicAdd(&a.counters->read, static_cast<unsigned long long>(tiles) * rows);
      begins[list] = before.x + mine.x;
      std::uint32_t item = before.y + mine.y;
      for (std::uint32_t s = 0; s < slices; ++s) {
        for (std::uint32_t t = 0; t < tiles; ++t, ++item) {
          if (item < a.item_capacity) {
            items[item] = {list, before.x + mine.x + t * tile, min(tile, pairs - t * tile), s * slice,
                           min(rows, (s + 1) * slice)};
          }
        }
      }
    }
    before = {before.x + total.x, before.y + total.y};
  }
  if (threadIdx.x == 0) a.item_counts[round] = min(before.y, a.item_capacity);
}

__global__ void scatter(PlanArgs a) {
  await_previous();
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::uint32_t nprobe = a.segments.nprobe;
  if (i >= static_cast<std::size_t>(a.nq) * nprobe) return;
  const std::uint32_t q = static_cast<std::uint32_t>(i / nprobe), rank = static_cast<std::uint32_t>(i % nprobe);
  const std::int32_t list = a.segments.lists[i];
  if (list < 0) return;
  const std::uint32_t* cums = a.cums + static_cast<std::size_t>(q) * (nprobe + 1);
  const std::uint32_t begin = cums[rank], end = cums[rank + 1];
  for (unsigned round = 0; round < a.rounds.count; ++round) {
    const RoundRows rows = rows_of_round(a.rounds, round, begin, end);
    if (rows.begin >= rows.end) continue;
    const std::size_t plane = static_cast<std::size_t>(round) * a.nq * nprobe;
    const std::uint32_t place = a.pair_begins[static_cast<std::size_t>(round) * a.nlist + list] + a.places[plane + i];
    a.pairs[plane + place] = {q, begin, rows.begin - begin, rows.end - begin};
  }
}

}  // namespace

void launch_plan(const PlanArgs& args, Stream stream) {
  constexpr unsigned per_block = threads / warp_lanes;
  launch_next_kernel(plan, (args.nq + per_block - 1) / per_block, threads, 0, stream, args);
  check_launch("plan");
}

void launch_group(const PlanArgs& args, Stream stream) {
  launch_next_kernel(offsets, args.rounds.count, scan_threads, 0, stream, args);
  check_launch("offsets");
  const std::size_t pairs = static_cast<std::size_t>(args.nq) * args.segments.nprobe;
  launch_next_kernel(scatter, static_cast<unsigned>((pairs + threads - 1) / threads), threads, 0, stream, args);
  check_launch("scatter");
}

}  // namespace ivf::detail::gpu

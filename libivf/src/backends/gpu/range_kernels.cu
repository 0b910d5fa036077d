#include "backends/gpu/range_kernels.h"

#include "backends/gpu/finish.h"

namespace ivf::detail::gpu {
namespace {

IVF_DYNAMIC_MEMORY(16, dynamic_memory);

constexpr unsigned gather_threads = 256;

__global__ void gather(GatherArgs a) {
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= a.count * a.width) return;
  a.to[i] = a.from[a.positions[i / a.width] * a.stride + i % a.width];
}

/// One block an item.
template <int warps>
__global__ __launch_bounds__(warps* warp_lanes) void range(FinishArgs f, RangeArgs a) {
  using Group = Team<warps>;
  const RangeItem item = a.items[blockIdx.x];
  const FinishShared s = carve(f, dynamic_memory);
  const std::uint32_t* rows =
      a.candidates.rows + static_cast<std::size_t>(item.query) * a.candidates.capacity + item.first;
  load_query<Group>(f, item.query, s);
  for (unsigned i = Group::rank(); i < item.count; i += Group::threads) s.rows[i] = rows[i];
  Group::sync();
  refine<Group>(f, s, 0, item.count);
  Group::sync();
  for (unsigned i = Group::rank(); i < item.count; i += Group::threads) {
    const float score = unordered(s.keys[i]), value = a.corpus.inner_product ? 0.0f - score : score;
    const bool hit = a.corpus.inner_product ? value > a.radius : value < a.radius;
    a.values[item.to + i] = value;
    a.ids[item.to + i] = hit ? s.ids[i] : -1;  // As the ids of places without a row are.
  }
}

}  // namespace

void launch_gather(const GatherArgs& args, Stream stream) {
  const std::size_t words = args.count * args.width;
  if (words == 0) return;
  launch_kernel(gather, static_cast<unsigned>((words + gather_threads - 1) / gather_threads), gather_threads, 0, stream,
                args);
  check_launch("gather");
}

void launch_range(const RangeArgs& args, Stream stream) {
  if (args.item_count == 0) return;
  constexpr int warps = 8;
  FinishArgs finish{};
  finish.corpus = args.corpus;
  finish.queries = args.queries;
  finish.query_stride = args.query_stride;
  finish.capacity = range_item_rows;
  const std::size_t bytes = shared_bytes(finish);
  allow_shared(range<warps>, bytes);
  launch_kernel(range<warps>, args.item_count, warps * warp_lanes, bytes, stream, finish, args);
  check_launch("range");
}

}  // namespace ivf::detail::gpu

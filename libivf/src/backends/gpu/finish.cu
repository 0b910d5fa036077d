// The kernels that end queries, and those that tighten limits between rounds.

#include "backends/gpu/finish.h"

namespace ivf::detail::gpu {
namespace {

IVF_DYNAMIC_MEMORY(16, dynamic_memory);

// With many queries a warp ends one, if k is at most this.
constexpr unsigned many_k = 128;
constexpr unsigned teams_of_many = 4;
// Rows that are re-computed together by brute force.
constexpr unsigned rest_capacity = 2048;

/// Where a team's shared memory begins.
template <class Group>
__device__ char* team_memory(const FinishArgs& a) {
  return dynamic_memory + threadIdx.x / Group::threads * shared_bytes(a);
}

/// `teams` queries a block. A team of one warp leaves queries whose survivors do not fit to finish_rest.
// Two large blocks to a multiprocessor: queries of a few hundred wait for each other otherwise.
template <int warps, int teams, int slots>
__global__ __launch_bounds__(warps* teams* warp_lanes, warps > 1 ? 2 : 8) void finish(IVF_ARGUMENT FinishArgs a) {
  await_previous();
  using Group = Team<warps>;
  __shared__ FinishScratch scratches[teams];
  const unsigned team = threadIdx.x / Group::threads;
  const std::uint32_t q = blockIdx.x * teams + team;
  if (q >= a.nq) return;
  FinishScratch& scratch = scratches[team];
  const FinishShared s = carve(a, team_memory<Group>(a));
  if (Group::rank() == 0) scratch.error = 0;
  Group::sync();
  load_query<Group>(a, q, s);
  // Candidates carry their bounds; segments are needed to make bounds of scores, and for brute force.
  if (warps > 1 || a.scores != nullptr) load_segments<Group>(a, a.info[q], q, s, scratch);
  Group::sync();
  if (finish_query<Group, slots>(a, a.info + q, q, s, scratch)) return;
  if constexpr (warps > 1) {
    finish_by_force<Group>(a, q, s, scratch);
  } else {
    if (Group::rank() == 0) a.rest[atomicAdd(a.rest_count, 1u)] = q;
  }
}

/// The queries that finish() left.
template <int warps>
__global__ __launch_bounds__(warps* warp_lanes) void finish_rest(IVF_ARGUMENT FinishArgs a) {
  await_previous();
  using Group = Team<warps>;
  __shared__ FinishScratch scratch;
  const FinishShared s = carve(a, dynamic_memory);
  const std::uint32_t count = *a.rest_count;
  for (std::uint32_t i = blockIdx.x; i < count; i += gridDim.x) {
    const std::uint32_t q = a.rest[i];
    load_query<Group>(a, q, s);
    load_segments<Group>(a, a.info[q], q, s, scratch);
    __syncthreads();
    finish_by_force<Group>(a, q, s, scratch);
    __syncthreads();
  }
}

/// Keeps the candidates within the limit: from scores into the candidates' memory, or in place.
template <int warps, int teams, int slots>
__global__ __launch_bounds__(warps* teams* warp_lanes) void limits(IVF_ARGUMENT FinishArgs a) {
  await_previous();
  using Group = Team<warps>;
  __shared__ FinishScratch scratches[teams];
  const unsigned team = threadIdx.x / Group::threads;
  const std::uint32_t q = blockIdx.x * teams + team;
  if (q >= a.nq) return;
  FinishScratch& scratch = scratches[team];
  const FinishShared s = carve(a, team_memory<Group>(a));
  if (Group::rank() == 0) scratch.error = 0;
  Group::sync();
  if (a.scores != nullptr) load_segments<Group>(a, a.info[q], q, s, scratch);
  Group::sync();
  bool overflow;
  const unsigned n = candidate_count(a, q, s, overflow);
  if (overflow) return;  // The query will be done by brute force; its limit stays what it was.
  const float limit = find_limit<Group, slots>(a, q, s, n, scratch);
  const std::size_t base = static_cast<std::size_t>(q) * a.candidates.capacity;
  if (Group::rank() == 0) scratch.found = 0;
  Group::sync();
  if (a.scores != nullptr) {
    visit_within<Group>(a, q, s, n, limit, scratch, [&](unsigned i, float upper) {
      const unsigned place = atomicAdd(&scratch.found, 1u);
      if (place >= a.candidates.capacity) return;
      a.candidates.bounds[base + place].y = upper;
      a.candidates.rows[base + place] = i;
    });
    Group::sync();
    // Those beyond the limit by the error of their own list stay: they are few, and dropped later.
    const unsigned found = min(scratch.found, a.candidates.capacity);
    for (unsigned at = Group::rank(); at < found; at += Group::threads) {
      const Candidate c = candidate_of(a, q, s, a.candidates.rows[base + at], a.candidates.bounds[base + at].y);
      const bool known = c.upper == c.upper;
      a.candidates.bounds[base + at] = {known ? c.lower : -INFINITY, known ? c.upper : INFINITY};
      a.candidates.rows[base + at] = c.row;
    }
  } else {
    // Each step reads a team's worth before it writes at most as many, at or before where they were read.
    for (unsigned first = 0; first < n; first += Group::threads) {
      const unsigned i = first + Group::rank();
      float2 bounds = {INFINITY, INFINITY};
      std::uint32_t row = 0;
      if (i < n) {
        bounds = a.candidates.bounds[base + i];
        row = a.candidates.rows[base + i];
      }
      Group::sync();
      if (i < n && !(bounds.x > limit)) {
        const unsigned place = atomicAdd(&scratch.found, 1u);
        a.candidates.bounds[base + place] = bounds;
        a.candidates.rows[base + place] = row;
      }
      Group::sync();
    }
  }
  Group::sync();
  if (Group::rank() == 0) {
    a.candidates.counts[q] = scratch.found;
    a.candidates.limits[q] = limit;
  }
}

/// For a few queries: every warp scans groups of 8 rows of a query, read in place and multiplied in float32; the last
/// block of the query ends it.
template <int warps, int slots>
__global__ __launch_bounds__(warps* warp_lanes) void matrix(IVF_ARGUMENT MatrixArgs m) {
  await_previous();
  using Group = Team<warps>;
  const FinishArgs& a = m.finish;
  const CorpusView& c = a.corpus;
  constexpr unsigned threads = Group::threads;
  __shared__ FinishScratch scratch;
  __shared__ double squares[warps];
  __shared__ QueryInfo info;
  __shared__ bool last;
  const std::uint32_t q = blockIdx.y;
  const unsigned lane = threadIdx.x % warp_lanes, warp = threadIdx.x / warp_lanes;
  const FinishShared s = carve(a, dynamic_memory);
  const float* query = a.queries + static_cast<std::size_t>(q) * a.query_stride;
  double square = 0;
  for (unsigned i = threadIdx.x; i < c.d; i += threads)
    square = fma(static_cast<double>(query[i]), static_cast<double>(query[i]), square);
  square = warp_sum(square);
  if (lane == 0) squares[warp] = square;
  load_query<Group>(a, q, s);
  float* plain_query = reinterpret_cast<float*>(dynamic_memory + shared_bytes(a));
  for (unsigned i = threadIdx.x; i < padded_dims(a); i += threads) plain_query[i] = i < c.d ? query[i] : 0.0f;
  __syncthreads();
  if (threadIdx.x == 0) {
    double sum = 0;
    for (unsigned w = 0; w < warps; ++w) sum += squares[w];
    info = query_info(sum, 0, c.d);  // The query is multiplied as it is.
    scratch.error = 0;
  }
  __syncthreads();
  load_segments<Group>(a, info, q, s, scratch);
  // Groups before each segment take the place of the keys, which are not needed yet.
  std::uint32_t* groups = s.keys;
  const unsigned segments = static_cast<unsigned>(segments_of(a));
  __syncthreads();
  if (warp == 0) {
    std::uint32_t before = 0;
    for (unsigned first = 0; first < segments; first += warp_lanes) {
      const unsigned r = first + lane;
      const std::uint32_t count = r < segments ? (s.cums[r + 1] - s.cums[r] + group_rows - 1) / group_rows : 0;
      const std::uint32_t sum = warp_prefix(count);
      if (r < segments) groups[r] = before + sum - count;
      before += shuffle(sum, warp_lanes - 1);
    }
    if (lane == 0) groups[segments] = before;
  }
  __syncthreads();
  const std::uint32_t total = groups[segments];
  float* scores = m.scores + static_cast<std::size_t>(q) * a.score_stride;
  const unsigned r = (lane >> 1) & 7, half = (lane & 1) ^ (r >> 2);
  for (std::uint32_t unit = blockIdx.x * warps + warp; unit < total; unit += gridDim.x * warps) {
    const unsigned low = segment_with(groups, segments, unit);
    const std::uint32_t row = (unit - groups[low]) * group_rows, begin = segment_begin(a, q, low) + row;
    const uint4* block =
        reinterpret_cast<const uint4*>(c.hi + static_cast<std::size_t>(begin / group_rows) * c.steps * block_values);
    const float h = c.halves[begin + r];
    float dot = 0;
#pragma unroll 4
    for (unsigned step = lane >> 4; step < c.steps; step += 2) {
      const uint4 x = block[step * 16 + (lane & 15)];
      const unsigned from = step * step_dims + half * 8;
      // A step of 16 dimensions may reach 8 past the query's padding; its zeros need no partner.
      if (from >= c.d) continue;
      const float* y = plain_query + from;
      dot = fmaf(__uint_as_float(x.x << 16), y[0], dot);
      dot = fmaf(__uint_as_float(x.x & 0xffff0000u), y[1], dot);
      dot = fmaf(__uint_as_float(x.y << 16), y[2], dot);
      dot = fmaf(__uint_as_float(x.y & 0xffff0000u), y[3], dot);
      dot = fmaf(__uint_as_float(x.z << 16), y[4], dot);
      dot = fmaf(__uint_as_float(x.z & 0xffff0000u), y[5], dot);
      dot = fmaf(__uint_as_float(x.w << 16), y[6], dot);
      dot = fmaf(__uint_as_float(x.w & 0xffff0000u), y[7], dot);
    }
    dot += shuffle_xor(dot, 1);
    dot += shuffle_xor(dot, 16);
    if ((lane & 17) == 0 && s.cums[low] + row + r < s.cums[low + 1]) {
      const ScoreBounds bounds{c.inner_product ? -1.0f : -2.0f,
                               c.inner_product ? 0.0f : static_cast<float>(info.square), s.errors[low] / 2};
      scores[s.cums[low] + row + r] = bounds.upper(dot - h);
    }
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(m.tickets + q, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  if (threadIdx.x == 0) m.tickets[q] = 0;
  if (!finish_query<Group, slots>(a, &info, q, s, scratch)) finish_by_force<Group>(a, q, s, scratch);
}

// Slots a team: at least four a result, so that the best rows seldom share one.
template <class Launch, class Many, class Few, class Medium, class Large>
void launch_for(unsigned k, bool many, Launch launch, Many of_many, Few of_few, Medium of_medium, Large of_large) {
  if (k <= many_k && many) {
    launch(of_many, 1u, teams_of_many);
  } else if (k <= 128) {
    launch(of_few, 16u, 1u);
  } else if (k <= 512) {
    launch(of_medium, 16u, 1u);
  } else {
    launch(of_large, 16u, 1u);
  }
}

}  // namespace

unsigned finish_capacity(unsigned k, bool many_queries) {
  unsigned capacity = many_queries && k <= many_k ? 128 : 512;
  while (capacity < (k <= many_k ? 4 : 2) * k) capacity *= 2;
  return capacity;
}

unsigned cacheable_scores(const FinishArgs& args, unsigned multiprocessors, std::size_t shared_limit) {
  const std::size_t bytes = shared_bytes(args) + args.score_stride * sizeof(float);
  return args.nq <= multiprocessors && bytes <= shared_limit ? static_cast<unsigned>(args.score_stride) : 0;
}

void launch_limits(const FinishArgs& args, bool many_queries, Stream stream) {
  const auto launch = [&](auto kernel, unsigned warps, unsigned teams) {
    const std::size_t bytes = shared_bytes(args) * teams;
    allow_shared(kernel, bytes);
    launch_next_kernel(kernel, (args.nq + teams - 1) / teams, warps * teams * warp_lanes, bytes, stream, args);
    check_launch("limits");
  };
  launch_for(args.k, many_queries, launch, limits<1, teams_of_many, 16>, limits<16, 1, 1>, limits<16, 1, 4>,
             limits<16, 1, 16>);
}

void launch_finish(const FinishArgs& args, bool many_queries, Stream stream) {
  const auto launch = [&](auto kernel, unsigned warps, unsigned teams) {
    const std::size_t bytes = shared_bytes(args) * teams;
    allow_shared(kernel, bytes);
    launch_next_kernel(kernel, (args.nq + teams - 1) / teams, warps * teams * warp_lanes, bytes, stream, args);
    check_launch("finish");
    if (warps > 1) return;
    const auto rest = finish_rest<32>;
    FinishArgs of_rest = args;
    of_rest.capacity = rest_capacity;
    const unsigned blocks = args.nq > 128 ? 128 : args.nq;
    allow_shared(rest, shared_bytes(of_rest));
    launch_next_kernel(rest, blocks, 32 * warp_lanes, shared_bytes(of_rest), stream, of_rest);
    check_launch("finish_rest");
  };
  launch_for(args.k, many_queries, launch, finish<1, teams_of_many, 16>, finish<16, 1, 1>, finish<16, 1, 4>,
             finish<16, 1, 16>);
}

void launch_matrix(const MatrixArgs& args, Stream stream) {
  const std::size_t bytes = shared_bytes(args.finish) + padded_dims(args.finish) * sizeof(float);
  const auto launch = [&](auto kernel) {
    allow_shared(kernel, bytes);
    launch_next_kernel(kernel, dim3(args.blocks, args.finish.nq), 512, bytes, stream, args);
    check_launch("matrix");
  };
  if (args.finish.k <= 128) {
    launch(matrix<16, 1>);
  } else if (args.finish.k <= 512) {
    launch(matrix<16, 4>);
  } else {
    launch(matrix<16, 16>);
  }
}

}  // namespace ivf::detail::gpu

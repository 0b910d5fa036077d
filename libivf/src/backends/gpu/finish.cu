// The kernels that end queries, and those that tighten limits between rounds.

#include "backends/gpu/finish.h"

namespace ivf::detail::gpu {
namespace {

extern __shared__ char dynamic_memory[];

template <int threads, int slots>
__global__ __launch_bounds__(threads) void finish(FinishArgs a) {
  __shared__ FinishScratch scratch;
  const std::uint32_t q = blockIdx.x;
  const FinishShared s = carve(a, dynamic_memory);
  load_query(a, q, s);
  load_segments(a, a.info[q], q, s);
  __syncthreads();
  finish_query<slots>(a, q, s, scratch);
}

/// Keeps the candidates within the limit: from scores into the candidates' memory, or in place.
template <int threads, int slots>
__global__ __launch_bounds__(threads) void limits(FinishArgs a) {
  __shared__ FinishScratch scratch;
  const std::uint32_t q = blockIdx.x;
  const FinishShared s = carve(a, dynamic_memory);
  if (a.scores != nullptr) load_segments(a, a.info[q], q, s);
  __syncthreads();
  bool overflow;
  const unsigned n = candidate_count(a, q, s, overflow);
  if (overflow) return;  // The query will be done by brute force; its limit stays what it was.
  const float limit = find_limit<slots>(a, q, s, n, scratch);
  const std::size_t base = static_cast<std::size_t>(q) * a.candidates.capacity;
  if (threadIdx.x == 0) scratch.found = 0;
  __syncthreads();
  if (a.scores != nullptr) {
    visit_candidates(a, q, s, n, [&](float upper, float lower, auto row_of) {
      if (lower > limit) return;
      const unsigned place = atomicAdd(&scratch.found, 1u);
      if (place >= a.candidates.capacity) return;
      const bool known = upper == upper;
      a.candidates.bounds[base + place] = {known ? lower : -INFINITY, known ? upper : INFINITY};
      a.candidates.rows[base + place] = row_of();
    });
  } else {
    // Each step reads a block's worth before it writes at most as many, at or before where they were read.
    for (unsigned first = 0; first < n; first += threads) {
      const unsigned i = first + threadIdx.x;
      float2 bounds = {INFINITY, INFINITY};
      std::uint32_t row = 0;
      if (i < n) {
        bounds = a.candidates.bounds[base + i];
        row = a.candidates.rows[base + i];
      }
      __syncthreads();
      if (i < n && !(bounds.x > limit)) {
        const unsigned place = atomicAdd(&scratch.found, 1u);
        a.candidates.bounds[base + place] = bounds;
        a.candidates.rows[base + place] = row;
      }
      __syncthreads();
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    a.candidates.counts[q] = scratch.found;
    a.candidates.limits[q] = limit;
  }
}

/// For a few queries: every warp scans groups of 8 rows of a query, read in place and multiplied in float32; the last
/// block of the query ends it.
template <int threads, int slots>
__global__ __launch_bounds__(threads) void matrix(MatrixArgs m) {
  const FinishArgs& a = m.finish;
  const CorpusView& c = a.corpus;
  constexpr unsigned warps = threads / warp_lanes;
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
  load_query(a, q, s);
  __syncthreads();
  if (threadIdx.x == 0) {
    double sum = 0;
    for (unsigned w = 0; w < warps; ++w) sum += squares[w];
    info = query_info(sum, 0, c.d);  // The query is multiplied as it is.
  }
  __syncthreads();
  load_segments(a, info, q, s);
  // Groups before each segment take the place of the keys, which are not needed yet.
  std::uint32_t* groups = s.keys;
  const unsigned segments = static_cast<unsigned>(segments_of(a));
  __syncthreads();
  if (warp == 0) {
    std::uint32_t before = 0;
    for (unsigned first = 0; first < segments; first += warp_lanes) {
      const unsigned r = first + lane;
      const std::uint32_t count = r < segments ? (s.cums[r + 1] - s.cums[r] + group_rows - 1) / group_rows : 0;
      std::uint32_t sum = count;
      for (int step = 1; step < warp_lanes; step *= 2) {
        const std::uint32_t other = shuffle_up(sum, step);
        if (lane >= static_cast<unsigned>(step)) sum += other;
      }
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
    unsigned low = 0, high = segments - 1;  // The segment: the last that begins at or before the unit.
    while (low < high) {
      const unsigned middle = (low + high + 1) / 2;
      if (groups[middle] <= unit)
        low = middle;
      else
        high = middle - 1;
    }
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
      const float* y = s.query + from;
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
  finish_query<slots>(a, q, s, scratch);
}

template <class Kernel>
void allow_shared(Kernel kernel, std::size_t bytes) {
  if (bytes <= 48 * 1024) return;
  check_status(IVF_GPU(FuncSetAttribute)(reinterpret_cast<const void*>(kernel),
                                         IVF_GPU(FuncAttributeMaxDynamicSharedMemorySize), static_cast<int>(bytes)),
               "shared memory");
}

}  // namespace

std::size_t finish_shared_bytes(const FinishArgs& args) { return shared_bytes(args); }

// Slots a block: at least four a result, so that the best rows seldom share one.
void launch_limits(const FinishArgs& args, Stream stream) {
  const std::size_t bytes = shared_bytes(args);
  const auto launch = [&](auto kernel, unsigned threads) {
    allow_shared(kernel, bytes);
    kernel<<<args.nq, threads, bytes, stream>>>(args);
    check_launch("limits");
  };
  if (args.k <= 128) {
    launch(limits<128, 4>, 128);
  } else if (args.k <= 512) {
    launch(limits<512, 4>, 512);
  } else {
    launch(limits<512, 16>, 512);
  }
}

void launch_finish(const FinishArgs& args, bool many_queries, Stream stream) {
  const std::size_t bytes = shared_bytes(args);
  const auto launch = [&](auto kernel, unsigned threads) {
    allow_shared(kernel, bytes);
    kernel<<<args.nq, threads, bytes, stream>>>(args);
    check_launch("finish");
  };
  if (args.k <= 128 && many_queries) {
    launch(finish<128, 4>, 128);
  } else if (args.k <= 128) {
    launch(finish<512, 1>, 512);
  } else if (args.k <= 512) {
    launch(finish<512, 4>, 512);
  } else {
    launch(finish<512, 16>, 512);
  }
}

void launch_matrix(const MatrixArgs& args, Stream stream) {
  const std::size_t bytes = shared_bytes(args.finish);
  const auto launch = [&](auto kernel) {
    allow_shared(kernel, bytes);
    kernel<<<dim3(args.blocks, args.finish.nq), 512, bytes, stream>>>(args);
    check_launch("matrix");
  };
  if (args.finish.k <= 128) {
    launch(matrix<512, 1>);
  } else if (args.finish.k <= 512) {
    launch(matrix<512, 4>);
  } else {
    launch(matrix<512, 16>);
  }
}

}  // namespace ivf::detail::gpu

// Bringing rows and queries into the form that the scans read; fixed-point sums.

#include "backends/gpu/bounds.h"
#include "backends/gpu/kernels.h"

namespace ivf::detail::gpu {
namespace {

constexpr unsigned threads = 256;

unsigned blocks_for(std::size_t n, std::size_t per_block) {
  return static_cast<unsigned>((n + per_block - 1) / per_block);
}

__global__ void clear_rows(float* halves, std::int64_t* ids, std::uint32_t rows) {
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows) return;
  halves[i] = INFINITY;
  ids[i] = -1;
}

/// One warp a row.
__global__ void upload(UploadArgs a) {
  const unsigned lane = threadIdx.x % warp_lanes;
  const std::size_t row = static_cast<std::size_t>(blockIdx.x) * (threads / warp_lanes) + threadIdx.x / warp_lanes;
  if (row >= a.rows) return;
  const UploadPlace to = a.places[row];
  if (to.place == no_place) return;
  const std::uint16_t* hi = a.hi + row * a.d;
  const std::uint16_t* lo = a.lo == nullptr ? nullptr : a.lo + row * a.d;
  for (unsigned i = lane; i < a.steps * step_dims; i += warp_lanes) {
    const std::size_t at = plane_offset(to.place, i, a.steps);
    a.to_hi[at] = i < a.d ? hi[i] : std::uint16_t{0};
    if (a.to_lo != nullptr) a.to_lo[at] = lo != nullptr && i < a.d ? lo[i] : std::uint16_t{0};
  }
  if (lane != 0) return;
  const float square = a.squares[row];
  const std::int64_t id = a.ids[row];
  a.to_halves[to.place] = id == -1 ? INFINITY : half_of(square, a.inner_product);
  a.to_ids[to.place] = id;
  a.to_origins[to.place] = to.origin;
  const double norm = sqrt(static_cast<double>(square) * (1 + 0x1p-22) + 0x1p-148);
  if (norm < largest_norm) {
    const unsigned bits = __float_as_uint(__double2float_ru(norm));
    // Few rows are larger than all before them: most read, and do not wait for each other.
    if (load_fresh(a.to_norms + to.list) < bits) atomicMax(a.to_norms + to.list, bits);
    if (load_fresh(a.to_norm) < bits) atomicMax(a.to_norm, bits);
  }
}

__global__ void hide(HideArgs a) {
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= a.places) return;
  const std::int64_t id = a.ids[i];
  const std::uint32_t origin = id == -1 ? 0 : a.origins[i];
  const bool there = id != -1 && (a.hidden[origin / 64] >> (origin % 64) & 1) == 0;
  a.to_halves[i] = there ? a.halves[i] : INFINITY;
  a.to_ids[i] = there ? id : -1;
}

/// One warp a query.
__global__ void prepare(PrepareArgs a) {
  await_previous();
  const unsigned lane = threadIdx.x % warp_lanes;
  const std::size_t q = static_cast<std::size_t>(blockIdx.x) * (threads / warp_lanes) + threadIdx.x / warp_lanes;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * threads + threadIdx.x; i < a.zero_count;
       i += static_cast<std::size_t>(gridDim.x) * threads)
    a.zeros[i] = 0;
  if (q >= a.nq) return;
  const float* x = a.queries + q * a.stride;
  std::uint16_t* to = a.rounded + q * a.steps * step_dims;
  double square = 0, residual = 0;
  for (unsigned i = lane; i < a.steps * step_dims; i += warp_lanes) {
    const float value = i < a.d ? x[i] : 0.0f;
    const std::uint32_t rounded = (__float_as_uint(value) + 0x8000u) & 0xffff0000u;
    to[i] = static_cast<std::uint16_t>(rounded >> 16);
    const double exact = value, lost = exact - static_cast<double>(__uint_as_float(rounded));
    square = fma(exact, exact, square);
    residual = fma(lost, lost, residual);
  }
  square = warp_sum(square);
  residual = warp_sum(residual);
  if (lane == 0) a.info[q] = query_info(square, residual, a.d);
}

__global__ void sums(SumsArgs a) {
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= a.count * a.d) return;
  const std::size_t row = i / a.d, j = i % a.d;
  const std::int32_t list = a.lists[row];
  if (list < 0) return;
  const double shifted = static_cast<double>(a.rows[row * a.stride + j]) + a.magic;
  atomicAdd(a.sums + static_cast<std::size_t>(list) * a.d + j,
            static_cast<unsigned long long>(__double_as_longlong(shifted)));
  if (j == 0) atomicAdd(a.sizes + list, 1ull);
}

}  // namespace

void launch_clear_rows(float* halves, std::int64_t* ids, std::uint32_t rows, Stream stream) {
  if (rows == 0) return;
  launch_kernel(clear_rows, blocks_for(rows, threads), threads, 0, stream, halves, ids, rows);
  check_launch("clear_rows");
}

void launch_upload(const UploadArgs& args, Stream stream) {
  if (args.rows == 0) return;
  launch_kernel(upload, blocks_for(args.rows, threads / warp_lanes), threads, 0, stream, args);
  check_launch("upload");
}

void launch_hide(const HideArgs& args, Stream stream) {
  if (args.places == 0) return;
  launch_kernel(hide, blocks_for(args.places, threads), threads, 0, stream, args);
  check_launch("hide");
}

void launch_prepare(const PrepareArgs& args, Stream stream) {
  launch_next_kernel(prepare, blocks_for(args.nq, threads / warp_lanes), threads, 0, stream, args);
  check_launch("prepare");
}

void launch_sums(const SumsArgs& args, Stream stream) {
  if (args.count == 0) return;
  launch_kernel(sums, blocks_for(args.count * args.d, threads), threads, 0, stream, args);
  check_launch("sums");
}

}  // namespace ivf::detail::gpu

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
  const uint2 place = a.places[row];
  const std::uint16_t* hi = a.hi + row * a.d;
  const std::uint16_t* lo = a.lo == nullptr ? nullptr : a.lo + row * a.d;
  for (unsigned i = lane; i < a.steps * step_dims; i += warp_lanes) {
    const std::size_t to = plane_offset(place.x, i, a.steps);
    a.to_hi[to] = i < a.d ? hi[i] : std::uint16_t{0};
    if (a.to_lo != nullptr) a.to_lo[to] = lo != nullptr && i < a.d ? lo[i] : std::uint16_t{0};
  }
  if (lane != 0) return;
  const float square = a.squares[row];
  a.to_halves[place.x] = half_of(square, a.inner_product);
  a.to_ids[place.x] = a.ids[row];
  const double norm = sqrt(static_cast<double>(square) * (1 + 0x1p-22) + 0x1p-148);
  if (norm < largest_norm) {
    const unsigned bits = __float_as_uint(__double2float_ru(norm));
    atomicMax(a.to_norms + place.y, bits);
    atomicMax(a.to_norm, bits);
  }
}

/// One warp a query.
__global__ void prepare(PrepareArgs a) {
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

void launch_prepare(const PrepareArgs& args, Stream stream) {
  launch_kernel(prepare, blocks_for(args.nq, threads / warp_lanes), threads, 0, stream, args);
  check_launch("prepare");
}

void launch_sums(const SumsArgs& args, Stream stream) {
  if (args.count == 0) return;
  launch_kernel(sums, blocks_for(args.count * args.d, threads), threads, 0, stream, args);
  check_launch("sums");
}

}  // namespace ivf::detail::gpu

#pragma once
/// \file
/// Sixteen rows by eight queries by sixteen dimensions: the product that the tile kernel is made of, on tensor cores
/// (sm_80 and later) or in plain fused multiply-adds (elsewhere), and copies that run beside it.
///
/// Operands lie in shared memory in the blocks of views.h. Of a product, lane l holds rows l/4 and l/4 + 8 against
/// queries 2(l%4) and 2(l%4) + 1, in this order: (row, query), (row, query + 1), (row + 8, query), (row + 8, query +
/// 1).

#include "backends/gpu/views.h"

#if defined(IVF_DEVICE_CODE)

namespace ivf::detail::gpu {

#if defined(IVF_HIP) || defined(IVF_EMULATED)

/// Plain arithmetic: the lane's own rows and queries are read where they lie.
struct RowOperand {
  const char* blocks[2];
};
struct QueryOperand {
  const char* block;
};

__device__ inline void load_rows(RowOperand& a, const char* block, unsigned stride) {
  a.blocks[0] = block;
  a.blocks[1] = block + stride;
}
template <int pairs>
__device__ inline void load_queries(QueryOperand (&b)[2 * pairs], const char* block, unsigned stride) {
  for (int i = 0; i < 2 * pairs; ++i) b[i].block = block + i * stride;
}
__device__ inline void load_queries(QueryOperand (&b)[1], const char* block, unsigned) { b[0].block = block; }

__device__ inline float operand(const char* block, unsigned row, unsigned i) {
  const auto* values = reinterpret_cast<const std::uint16_t*>(block);
  return __uint_as_float(static_cast<unsigned>(values[plane_offset(row, i, 1)]) << 16);
}

__device__ inline void multiply(float (&sum)[4], const RowOperand& a, const QueryOperand& b) {
  const unsigned lane = threadIdx.x % warp_lanes, row = lane / 4, query = lane % 4 * 2;
  for (unsigned i = 0; i < step_dims; ++i) {
    const float q0 = operand(b.block, query, i), q1 = operand(b.block, query + 1, i);
    const float x0 = operand(a.blocks[0], row, i), x1 = operand(a.blocks[1], row, i);
    sum[0] = fmaf(x0, q0, sum[0]);
    sum[1] = fmaf(x0, q1, sum[1]);
    sum[2] = fmaf(x1, q0, sum[2]);
    sum[3] = fmaf(x1, q1, sum[3]);
  }
}

__device__ inline void copy_16(void* shared, const void* global) {
  *static_cast<uint4*>(shared) = *static_cast<const uint4*>(global);
}
__device__ inline void clear_16(void* shared) { *static_cast<uint4*>(shared) = uint4{0, 0, 0, 0}; }
__device__ inline void commit_copies() {}
template <int pending>
__device__ inline void wait_copies() {}

#else

struct RowOperand {
  unsigned x[4];
};
struct QueryOperand {
  unsigned x[2];
};

__device__ inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

/// Rows of two blocks, `stride` bytes apart.
__device__ inline void load_rows(RowOperand& a, const char* block, unsigned stride) {
  const unsigned lane = threadIdx.x % warp_lanes, r = lane & 7, half = lane >> 4;
  const unsigned at = shared_address(block) + ((lane >> 3) & 1) * stride + r * 32 + ((half ^ (r >> 2)) << 4);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(a.x[0]), "=r"(a.x[1]), "=r"(a.x[2]), "=r"(a.x[3])
               : "r"(at));
}

/// Queries of 2 * pairs blocks, `stride` bytes apart.
template <int pairs>
__device__ inline void load_queries(QueryOperand (&b)[2 * pairs], const char* block, unsigned stride) {
  const unsigned lane = threadIdx.x % warp_lanes, r = lane & 7, half = (lane >> 3) & 1;
  const unsigned at = shared_address(block) + (lane >> 4) * stride + r * 32 + ((half ^ (r >> 2)) << 4);
#pragma unroll
  for (int i = 0; i < pairs; ++i) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b[2 * i].x[0]), "=r"(b[2 * i].x[1]), "=r"(b[2 * i + 1].x[0]), "=r"(b[2 * i + 1].x[1])
                 : "r"(at + 2 * i * stride));
  }
}

/// Queries of one block.
__device__ inline void load_queries(QueryOperand (&b)[1], const char* block, unsigned) {
  const unsigned lane = threadIdx.x % warp_lanes, r = lane & 7, half = (lane >> 3) & 1;
  const unsigned at = shared_address(block) + r * 32 + ((half ^ (r >> 2)) << 4);
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(b[0].x[0]), "=r"(b[0].x[1]) : "r"(at));
}

__device__ inline void multiply(float (&sum)[4], const RowOperand& a, const QueryOperand& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
}

__device__ inline void copy_16(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}
/// Zeros, in the order of the copies.
__device__ inline void clear_16(void* shared) { *static_cast<uint4*>(shared) = uint4{0, 0, 0, 0}; }
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

#endif

}  // namespace ivf::detail::gpu

#endif

#pragma once
/// \file
/// Instructions of sm_90a: products of a group of four warps whose operands lie in shared memory, barriers there that
/// count bytes, and copies that arrive at them. Names and layouts are those of the PTX manual ("wgmma", "mbarrier",
/// "cp.async.bulk").

#include "backends/gpu/matrix_unit.h"

#if defined(__CUDACC__)
#define IVF_WARP_GROUPS 1

namespace ivf::detail::gpu {

// Code for other architectures is compiled empty: launch_wide_tiles() is only called where the device has these.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define IVF_SM90 1
#endif

constexpr unsigned group_threads = 4 * warp_lanes;

#if defined(IVF_SM90)

/// Describes an operand of 16 dimensions: 8 rows lie in a block of 256 bytes as views.h has them, which is what the
/// manual calls 32-byte swizzle; the next 8 rows lie `stride` bytes further on.
__device__ inline std::uint64_t operand_at(unsigned address, unsigned stride) {
  return static_cast<std::uint64_t>((address & 0x3ffffu) >> 4) | std::uint64_t{1} << 16 |
         static_cast<std::uint64_t>(stride >> 4) << 32 | std::uint64_t{3} << 62;
}

/// Accumulators are not touched between begin_products() and finish_products().
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
template <int count>
__device__ inline void finish_products(float (&sums)[count][4]) {
  asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
  // The compiler believes the sums complete since the products began: nothing that reads them may move up past here.
#pragma unroll
  for (int i = 0; i < count; ++i) {
    asm volatile("" : "+f"(sums[i][0]), "+f"(sums[i][1]), "+f"(sums[i][2]), "+f"(sums[i][3])::"memory");
  }
}

#define IVF_SUMS_8(block)                                                                                           \
  "+f"(sums[block][0]), "+f"(sums[block][1]), "+f"(sums[block][2]), "+f"(sums[block][3]), "+f"(sums[block + 1][0]), \
      "+f"(sums[block + 1][1]), "+f"(sums[block + 1][2]), "+f"(sums[block + 1][3])

/// 64 rows by 16 dimensions times that by 32, 64 or 128 queries. Of the result, warp w has rows 16w to 16w + 15, and of
/// those and each 8 queries lane l has what it has in matrix_unit.h. With `add` 0 the sums are overwritten.
__device__ inline void multiply_group(float (&sums)[4][4], std::uint64_t rows, std::uint64_t queries, int add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %18, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, %16, %17, p, 1, 1, 0, 0; }"
      : IVF_SUMS_8(0), IVF_SUMS_8(2)
      : "l"(rows), "l"(queries), "r"(add));
}
__device__ inline void multiply_group(float (&sums)[8][4], std::uint64_t rows, std::uint64_t queries, int add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, p, 1, 1, 0, 0; }"
      : IVF_SUMS_8(0), IVF_SUMS_8(2), IVF_SUMS_8(4), IVF_SUMS_8(6)
      : "l"(rows), "l"(queries), "r"(add));
}
__device__ inline void multiply_group(float (&sums)[16][4], std::uint64_t rows, std::uint64_t queries, int add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, %64, %65, p, 1, 1, 0, 0; }"
      : IVF_SUMS_8(0), IVF_SUMS_8(2), IVF_SUMS_8(4), IVF_SUMS_8(6), IVF_SUMS_8(8), IVF_SUMS_8(10), IVF_SUMS_8(12),
        IVF_SUMS_8(14)
      : "l"(rows), "l"(queries), "r"(add));
}
#undef IVF_SUMS_8

/// Registers of each thread of this group of four warps, from now on.
template <int registers>
__device__ inline void give_up_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

/// A barrier in shared memory: `arrivals` and the bytes that they announced end a phase. Phases alternate between
/// parity 0, the first, and 1.
__device__ inline void init_barrier(unsigned barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
/// After the last init_barrier(), before the block's barrier.
__device__ inline void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ inline void arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ inline void arrive_expecting(unsigned barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/// Until the phase of this parity has ended; the phase before the first one counts as ended, with parity 1.
__device__ inline void wait(unsigned barrier, unsigned parity) {
  asm volatile(
      "{ .reg .pred p;\n"
      "again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@p bra done;\n"
      "bra again;\n"
      "done: }" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// Copies bytes, a multiple of 16, to shared memory and arrives at the barrier with them. One thread.
__device__ inline void copy_bulk(unsigned to, const void* from, unsigned bytes, unsigned barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(from), "r"(bytes), "r"(barrier)
               : "memory");
}
/// What this thread has written to or read from shared memory comes before what products and copies do that others
/// begin after a barrier at which it arrives.
__device__ inline void settle_accesses() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/// A barrier of some warps of the block; 0 is that of the whole block.
template <int number, int threads>
__device__ inline void sync_some() {
  asm volatile("bar.sync %0, %1;" ::"n"(number), "n"(threads) : "memory");
}

#endif

}  // namespace ivf::detail::gpu

#endif

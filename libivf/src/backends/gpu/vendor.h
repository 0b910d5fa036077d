#pragma once
/// \file
/// CUDA, HIP and the emulator of the tests under one set of names. Only the files of this folder that hold device code
/// include it.

#include <cstddef>
#include <type_traits>

#if defined(IVF_EMULATED)
#include <emulation/runtime.h>  // tests/gpu/emulation: device code compiled for the CPU. Its names are CUDA's.
#elif defined(__HIP__) || defined(__HIPCC__)
#define IVF_HIP 1
#include <hip/hip_runtime.h>
#else
#include <cuda_runtime.h>
#endif

/// Defined where the compiler takes device code.
#if defined(IVF_EMULATED) || defined(IVF_HIP) || defined(__CUDACC__)
#define IVF_DEVICE_CODE 1
#endif

namespace ivf::detail::gpu {

#if defined(IVF_EMULATED)
using Stream = emulatedStream_t;
using Event = emulatedEvent_t;
using Status = emulatedError_t;
using DeviceProperties = emulatedDeviceProp;
#define IVF_GPU(name) emulated##name
#elif defined(IVF_HIP)
using Stream = hipStream_t;
using Event = hipEvent_t;
using Status = hipError_t;
using DeviceProperties = hipDeviceProp_t;
#define IVF_GPU(name) hip##name
#else
using Stream = cudaStream_t;
using Event = cudaEvent_t;
using Status = cudaError_t;
using DeviceProperties = cudaDeviceProp;
#define IVF_GPU(name) cuda##name
#endif

/// Bytes of shared memory that a block may have at most.
inline Status shared_memory_limit(int& bytes, int device) {
#if defined(IVF_HIP)
  return hipDeviceGetAttribute(&bytes, hipDeviceAttributeMaxSharedMemoryPerBlock, device);
#else
  return IVF_GPU(DeviceGetAttribute)(&bytes, IVF_GPU(DevAttrMaxSharedMemoryPerBlockOptin), device);
#endif
}

/// Page-locked memory of the host.
inline Status allocate_page_locked(void** memory, std::size_t bytes) {
#if defined(IVF_HIP)
  return hipHostMalloc(memory, bytes, 0);
#else
  return IVF_GPU(MallocHost)(memory, bytes);
#endif
}
inline Status free_page_locked(void* memory) {
#if defined(IVF_HIP)
  return hipHostFree(memory);
#else
  return IVF_GPU(FreeHost)(memory);
#endif
}

// Lanes that work together in the kernels. On hardware whose wavefronts are wider, two such groups share one.
constexpr int warp_lanes = 32;

#if defined(IVF_DEVICE_CODE)

/// Declares `name`, the block's memory whose size the launch gives.
#if defined(IVF_EMULATED)
#define IVF_DYNAMIC_MEMORY(alignment, name)                          \
  static_assert((alignment) <= ::ivf::emulation::dynamic_alignment); \
  static char* const& name = ::ivf::emulation::dynamic_memory
#else
#define IVF_DYNAMIC_MEMORY(alignment, name) \
  extern __shared__ __align__(alignment)    \
  char name[]
#endif

/// A kernel's argument whose address functions may take without a copy of it.
#if defined(IVF_EMULATED) || defined(IVF_HIP)
#define IVF_ARGUMENT const
#else
#define IVF_ARGUMENT const __grid_constant__
#endif

/// Whether the current device starts kernels early: see launch_next_kernel().
bool starts_early();

/// Puts a kernel on a stream. check_launch() tells whether it was refused.
template <class... Parameters>
void launch_kernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, Stream stream,
                   const std::type_identity_t<Parameters>&... arguments) {
#if defined(IVF_EMULATED)
  static_cast<void>(stream);
  ::ivf::emulation::run(reinterpret_cast<const void*>(kernel), grid, block, shared_bytes,
                        [&] { kernel(arguments...); });
#else
  // clang-format off
  kernel<<<grid, block, shared_bytes, stream>>>(arguments...);
  // clang-format on
#endif
}

/// The same for a kernel that calls await_previous(): on devices that can, its blocks start while those of the kernel
/// before it are ending ("programmatic dependent launch" of the CUDA manual, from compute capability 9.0 on).
template <class... Parameters>
void launch_next_kernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, Stream stream,
                        const std::type_identity_t<Parameters>&... arguments) {
#if defined(IVF_EMULATED) || defined(IVF_HIP)
  launch_kernel(kernel, grid, block, shared_bytes, stream, arguments...);
#else
  if (!starts_early()) return launch_kernel(kernel, grid, block, shared_bytes, stream, arguments...);
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  // What it returns is the launch's status, which check_launch() asks for.
  static_cast<void>(cudaLaunchKernelEx(&config, kernel, arguments...));
#endif
}

/// The first thing that a kernel does for launch_next_kernel(): until the kernels before it are done, and their results
/// there to be read. The one after it may start and wait as well.
__device__ inline void await_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\ngriddepcontrol.wait;" ::: "memory");
#endif
}

#if defined(IVF_HIP)
template <class T>
__device__ inline T shuffle_xor(T value, int lanes) {
  return __shfl_xor(value, lanes, warp_lanes);
}
template <class T>
__device__ inline T shuffle_up(T value, int lanes) {
  return __shfl_up(value, lanes, warp_lanes);
}
template <class T>
__device__ inline T shuffle(T value, int lane) {
  return __shfl(value, lane, warp_lanes);
}
/// The group's votes, bit i for lane i.
__device__ inline unsigned ballot(bool vote) {
  const unsigned long long all = __ballot(vote);
  return static_cast<unsigned>(all >> ((threadIdx.x & (warpSize - 1)) & ~(warp_lanes - 1)));
}
#else
template <class T>
__device__ inline T shuffle_xor(T value, int lanes) {
  return __shfl_xor_sync(0xffffffffu, value, lanes);
}
template <class T>
__device__ inline T shuffle_up(T value, int lanes) {
  return __shfl_up_sync(0xffffffffu, value, lanes);
}
template <class T>
__device__ inline T shuffle(T value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
/// The group's votes, bit i for lane i.
__device__ inline unsigned ballot(bool vote) { return __ballot_sync(0xffffffffu, vote); }
#endif

#if defined(IVF_HIP)
__device__ inline void sync_warp() { __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "wavefront"); }
#else
__device__ inline void sync_warp() { __syncwarp(); }
#endif

/// Reads what other blocks wrote before a fence of this thread: past the first-level cache, which a fence of CUDA
/// leaves as it is.
template <class T>
__device__ inline T load_fresh(const T* from) {
#if defined(IVF_HIP)
  return *from;
#else
  return __ldcg(from);
#endif
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
__device__ inline unsigned warp_sum(unsigned value) { return __reduce_add_sync(0xffffffffu, value); }
__device__ inline unsigned warp_min(unsigned value) { return __reduce_min_sync(0xffffffffu, value); }
__device__ inline unsigned warp_max(unsigned value) { return __reduce_max_sync(0xffffffffu, value); }
#else
__device__ inline unsigned warp_sum(unsigned value) {
  for (int lanes = 16; lanes > 0; lanes >>= 1) value += shuffle_xor(value, lanes);
  return value;
}
__device__ inline unsigned warp_min(unsigned value) {
  for (int lanes = 16; lanes > 0; lanes >>= 1) value = min(value, shuffle_xor(value, lanes));
  return value;
}
__device__ inline unsigned warp_max(unsigned value) {
  for (int lanes = 16; lanes > 0; lanes >>= 1) value = max(value, shuffle_xor(value, lanes));
  return value;
}
#endif
__device__ inline double warp_sum(double value) {
  for (int lanes = 16; lanes > 0; lanes >>= 1) value += shuffle_xor(value, lanes);
  return value;
}
/// The sum of the lanes up to this one.
__device__ inline unsigned warp_prefix(unsigned value) {
#pragma unroll
  for (int step = 1; step < warp_lanes; step *= 2) {
    const unsigned other = shuffle_up(value, step);
    if (threadIdx.x % warp_lanes >= static_cast<unsigned>(step)) value += other;
  }
  return value;
}

#endif

}  // namespace ivf::detail::gpu

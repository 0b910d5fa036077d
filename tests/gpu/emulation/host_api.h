#pragma once
/// \file
/// Devices, memory, streams and events, as the host sees them. Functions do what those of CUDA of the same names do.
///
/// IVF_EMULATED_DEVICES in the environment is how many devices there are (default 2).

#include <cstddef>

#include "emulation/status.h"

using emulatedStream_t = void*;
struct emulatedEvent;
using emulatedEvent_t = emulatedEvent*;

struct emulatedDeviceProp {
  char name[256];
  int multiProcessorCount, major, minor;
};

constexpr unsigned emulatedEventDisableTiming = 2, emulatedStreamNonBlocking = 1;
enum emulatedMemcpyKind { emulatedMemcpyHostToDevice, emulatedMemcpyDeviceToHost };
enum emulatedDeviceAttr { emulatedDevAttrMaxSharedMemoryPerBlockOptin };
enum emulatedFuncAttribute { emulatedFuncAttributeMaxDynamicSharedMemorySize };

emulatedError_t emulatedGetDeviceCount(int* count);
emulatedError_t emulatedGetDevice(int* device);
emulatedError_t emulatedSetDevice(int device);
emulatedError_t emulatedGetDeviceProperties(emulatedDeviceProp* properties, int device);
emulatedError_t emulatedDeviceGetAttribute(int* value, emulatedDeviceAttr attribute, int device);
emulatedError_t emulatedMemGetInfo(std::size_t* free_bytes, std::size_t* all_bytes);
/// Besides: reports memory that was written after it had been freed.
emulatedError_t emulatedDeviceSynchronize();
emulatedError_t emulatedStreamCreateWithFlags(emulatedStream_t* stream, unsigned flags);
emulatedError_t emulatedStreamDestroy(emulatedStream_t stream);
emulatedError_t emulatedStreamSynchronize(emulatedStream_t stream);

emulatedError_t emulatedMallocAsync(void** memory, std::size_t bytes, emulatedStream_t stream);
emulatedError_t emulatedFreeAsync(void* memory, emulatedStream_t stream);
/// Memory of the host that devices copy from directly.
emulatedError_t emulatedMallocHost(void** memory, std::size_t bytes);
emulatedError_t emulatedFreeHost(void* memory);
emulatedError_t emulatedMemsetAsync(void* memory, int value, std::size_t bytes, emulatedStream_t stream);
emulatedError_t emulatedMemcpyAsync(void* to, const void* from, std::size_t bytes, emulatedMemcpyKind kind,
                                    emulatedStream_t stream);
emulatedError_t emulatedMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                                      std::size_t width, std::size_t height, emulatedMemcpyKind kind,
                                      emulatedStream_t stream);

emulatedError_t emulatedEventCreate(emulatedEvent_t* event);
emulatedError_t emulatedEventCreateWithFlags(emulatedEvent_t* event, unsigned flags);
emulatedError_t emulatedEventSynchronize(emulatedEvent_t event);
emulatedError_t emulatedEventDestroy(emulatedEvent_t event);
emulatedError_t emulatedEventRecord(emulatedEvent_t event, emulatedStream_t stream);
emulatedError_t emulatedEventElapsedTime(float* ms, emulatedEvent_t first, emulatedEvent_t last);

emulatedError_t emulatedFuncSetAttribute(const void* kernel, emulatedFuncAttribute attribute, int value);
template <class Kernel>
emulatedError_t emulatedOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel, int, std::size_t) {
  *blocks = 1;
  return emulatedSuccess;
}

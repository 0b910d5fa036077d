#include "emulation/host_api.h"

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "emulation/grid.h"
#include "emulation/memory.h"

using ivf::emulation::is_device_memory;
using ivf::emulation::note;
using ivf::emulation::touches_device_memory;

struct emulatedEvent {
  std::chrono::steady_clock::time_point time;
  bool recorded = false;
};

namespace {

thread_local int current_device = 0;

int device_count() {
  const char* count = std::getenv("IVF_EMULATED_DEVICES");
  return count == nullptr ? 2 : std::atoi(count);
}

bool is_device(int device) { return device >= 0 && device < device_count(); }

}  // namespace

emulatedError_t emulatedGetDeviceCount(int* count) {
  *count = device_count();
  return emulatedSuccess;
}

emulatedError_t emulatedGetDevice(int* device) {
  *device = current_device;
  return emulatedSuccess;
}

emulatedError_t emulatedSetDevice(int device) {
  if (!is_device(device)) return note(emulatedErrorInvalidDevice);
  current_device = device;
  return emulatedSuccess;
}

emulatedError_t emulatedGetDeviceProperties(emulatedDeviceProp* properties, int device) {
  if (!is_device(device)) return note(emulatedErrorInvalidDevice);
  // Two multiprocessors: more blocks than one, and few threads to run.
  *properties = {"emulated", 2, 0, 0};
  return emulatedSuccess;
}

emulatedError_t emulatedDeviceGetAttribute(int* value, emulatedDeviceAttr, int device) {
  if (!is_device(device)) return note(emulatedErrorInvalidDevice);
  *value = static_cast<int>(ivf::emulation::most_shared_bytes);
  return emulatedSuccess;
}

emulatedError_t emulatedMemGetInfo(std::size_t* free_bytes, std::size_t* all_bytes) {
  *all_bytes = ivf::emulation::memory_of_device();
  const std::size_t used = ivf::emulation::memory_in_use(current_device);
  *free_bytes = used < *all_bytes ? *all_bytes - used : 0;
  return emulatedSuccess;
}

emulatedError_t emulatedDeviceSynchronize() { return ivf::emulation::check_released(); }

emulatedError_t emulatedStreamCreateWithFlags(emulatedStream_t* stream, unsigned) {
  *stream = nullptr;
  return emulatedSuccess;
}

emulatedError_t emulatedStreamDestroy(emulatedStream_t) { return emulatedSuccess; }

// Work was done when it was put on the stream.
emulatedError_t emulatedStreamSynchronize(emulatedStream_t) { return emulatedSuccess; }

emulatedError_t emulatedMallocAsync(void** memory, std::size_t bytes, emulatedStream_t) {
  *memory = ivf::emulation::allocate(bytes, current_device);
  return *memory == nullptr ? note(emulatedErrorMemoryAllocation) : emulatedSuccess;
}

emulatedError_t emulatedFreeAsync(void* memory, emulatedStream_t) { return ivf::emulation::release(memory); }

emulatedError_t emulatedMallocHost(void** memory, std::size_t bytes) {
  *memory = std::malloc(bytes);
  return *memory == nullptr ? note(emulatedErrorMemoryAllocation) : emulatedSuccess;
}

emulatedError_t emulatedFreeHost(void* memory) {
  std::free(memory);
  return emulatedSuccess;
}

emulatedError_t emulatedMemsetAsync(void* memory, int value, std::size_t bytes, emulatedStream_t) {
  if (!is_device_memory(memory, bytes)) return note(emulatedErrorInvalidValue);
  std::memset(memory, value, bytes);
  return emulatedSuccess;
}

emulatedError_t emulatedMemcpyAsync(void* to, const void* from, std::size_t bytes, emulatedMemcpyKind kind,
                                    emulatedStream_t) {
  const bool in = kind == emulatedMemcpyHostToDevice;
  const void* on_device = in ? to : from;
  const void* on_host = in ? from : to;
  if (!is_device_memory(on_device, bytes) || touches_device_memory(on_host, bytes))
    return note(emulatedErrorInvalidValue);
  std::memcpy(to, from, bytes);
  return emulatedSuccess;
}

emulatedError_t emulatedMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                                      std::size_t width, std::size_t height, emulatedMemcpyKind kind,
                                      emulatedStream_t stream) {
  if (width > to_pitch || width > from_pitch) return note(emulatedErrorInvalidValue);
  for (std::size_t i = 0; i < height; ++i) {
    const emulatedError_t status = emulatedMemcpyAsync(
        static_cast<char*>(to) + i * to_pitch, static_cast<const char*>(from) + i * from_pitch, width, kind, stream);
    if (status != emulatedSuccess) return status;
  }
  return emulatedSuccess;
}

emulatedError_t emulatedEventCreate(emulatedEvent_t* event) {
  *event = new emulatedEvent;
  return emulatedSuccess;
}

emulatedError_t emulatedEventCreateWithFlags(emulatedEvent_t* event, unsigned) { return emulatedEventCreate(event); }

emulatedError_t emulatedEventSynchronize(emulatedEvent_t) { return emulatedSuccess; }

emulatedError_t emulatedEventDestroy(emulatedEvent_t event) {
  delete event;
  return emulatedSuccess;
}

emulatedError_t emulatedEventRecord(emulatedEvent_t event, emulatedStream_t) {
  event->time = std::chrono::steady_clock::now();
  event->recorded = true;
  return emulatedSuccess;
}

emulatedError_t emulatedEventElapsedTime(float* ms, emulatedEvent_t first, emulatedEvent_t last) {
  if (!first->recorded || !last->recorded) return note(emulatedErrorInvalidValue);
  *ms = std::chrono::duration<float, std::milli>(last->time - first->time).count();
  return emulatedSuccess;
}

emulatedError_t emulatedFuncSetAttribute(const void* kernel, emulatedFuncAttribute, int value) {
  return ivf::emulation::allow_shared_bytes(kernel, value);
}

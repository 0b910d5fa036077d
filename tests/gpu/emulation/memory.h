#pragma once
/// \file
/// Memory of emulated devices: blocks of host memory that are known, with their device, while they are in use.

#include <cstddef>

#include "emulation/status.h"

namespace ivf::emulation {

/// Bytes that each device has: IVF_EMULATED_MEMORY in the environment, or 4 GiB.
std::size_t memory_of_device();
/// Bytes of them in use.
std::size_t memory_in_use(int device);

/// Memory of a device that begins with a pattern, so that nobody takes it for zero; null when there is not as much.
void* allocate(std::size_t bytes, int device);
/// Fills memory with another pattern and gives it back, some time later: until then, writes to it are noticed.
emulatedError_t release(void* memory);
/// Looks whether memory that was given back has been written.
emulatedError_t check_released();

/// Whether all of these bytes lie in one block in use.
bool is_device_memory(const void* memory, std::size_t bytes);
/// Whether some of them do.
bool touches_device_memory(const void* memory, std::size_t bytes);

}  // namespace ivf::emulation

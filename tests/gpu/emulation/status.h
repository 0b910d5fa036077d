#pragma once
/// \file
/// What a call of the emulator answers.

enum emulatedError_t {
  emulatedSuccess,
  emulatedErrorInvalidValue,
  emulatedErrorInvalidDevice,
  emulatedErrorMemoryAllocation,
  emulatedErrorLaunchConfiguration,
  emulatedErrorBarrier,
  emulatedErrorSharedMemory,
  emulatedErrorFreedMemory,
};

const char* emulatedGetErrorString(emulatedError_t error);
/// The first error since the last call, of the calling thread.
emulatedError_t emulatedGetLastError();

namespace ivf::emulation {

/// Keeps an error, the first of several, for emulatedGetLastError(), and returns it.
emulatedError_t note(emulatedError_t error);

}  // namespace ivf::emulation

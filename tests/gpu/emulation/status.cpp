#include "emulation/status.h"

#include <utility>

namespace ivf::emulation {
namespace {

thread_local emulatedError_t last_error = emulatedSuccess;

}  // namespace

emulatedError_t note(emulatedError_t error) {
  if (last_error == emulatedSuccess) last_error = error;
  return error;
}

}  // namespace ivf::emulation

emulatedError_t emulatedGetLastError() { return std::exchange(ivf::emulation::last_error, emulatedSuccess); }

const char* emulatedGetErrorString(emulatedError_t error) {
  switch (error) {
    case emulatedSuccess:
      return "no error";
    case emulatedErrorInvalidValue:
      return "an argument is none that the function takes, or the memory is not a device's";
    case emulatedErrorInvalidDevice:
      return "there is no such device";
    case emulatedErrorMemoryAllocation:
      return "there is not so much memory left on the device";
    case emulatedErrorLaunchConfiguration:
      return "a grid, block or shared memory of this size cannot be launched";
    case emulatedErrorBarrier:
      return "threads wait at a barrier that others never reach";
    case emulatedErrorSharedMemory:
      return "a block used more shared memory than it asked for";
    case emulatedErrorFreedMemory:
      return "memory was written after it had been freed";
  }
  return "unknown error";
}

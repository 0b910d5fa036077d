// Devices, errors of the toolkit, and its own pool of memory.

#include <string>

#include "backends/gpu/engine.h"
#include "backends/gpu/kernels.h"
#include "ivf/error.hpp"

namespace ivf::detail::gpu {
namespace {

class PoolAllocator final : public Allocator {
 public:
  void* allocate(std::size_t bytes, StreamHandle stream) override {
    void* memory = nullptr;
    check_status(IVF_GPU(MallocAsync)(&memory, bytes, static_cast<Stream>(stream)), "memory of the device");
    return memory;
  }
  void release(void* memory, StreamHandle stream) noexcept override {
    // An error here is one that an earlier launch left, and is reported by the next call that may throw.
    static_cast<void>(IVF_GPU(FreeAsync)(memory, static_cast<Stream>(stream)));
  }
};

}  // namespace

bool starts_early() {
#if defined(IVF_EMULATED) || defined(IVF_HIP)
  return false;
#else
  int device = 0, major = 0;
  check_status(cudaGetDevice(&device), "current device");
  check_status(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "compute capability");
  return major >= 9;
#endif
}

void check_status(Status status, const char* what) {
  if (status == IVF_GPU(Success)) return;
  static_cast<void>(IVF_GPU(GetLastError)());
  throw Error(ErrorKind::failed, std::string("expected the device to do its work (") + what +
                                     "), found: " + IVF_GPU(GetErrorString)(status));
}

void check_launch(const char* kernel) { check_status(IVF_GPU(GetLastError)(), kernel); }

Allocator& pool_allocator() {
  static PoolAllocator allocator;
  return allocator;
}

int device_count() noexcept {
  int count = 0;
  if (IVF_GPU(GetDeviceCount)(&count) == IVF_GPU(Success)) return count;
  static_cast<void>(IVF_GPU(GetLastError)());
  return 0;
}

DeviceInfo device_info(int device) {
  const int count = device_count();
  if (device < 0 || device >= count) {
    throw Error(ErrorKind::misuse, "expected a device of 0 to " + std::to_string(count - 1) + ", found " +
                                       std::to_string(device) + (count == 0 ? "; this machine has none" : ""));
  }
  DeviceProperties properties{};
  check_status(IVF_GPU(GetDeviceProperties)(&properties, device), "properties of the device");
  int before = 0;
  check_status(IVF_GPU(GetDevice)(&before), "current device");
  check_status(IVF_GPU(SetDevice)(device), "choice of the device");
  std::size_t free_bytes = 0, total_bytes = 0;
  const Status status = IVF_GPU(MemGetInfo)(&free_bytes, &total_bytes);
  check_status(IVF_GPU(SetDevice)(before), "choice of the device");
  check_status(status, "memory of the device");
  DeviceInfo info;
  info.name = properties.name;
  info.multiprocessors = properties.multiProcessorCount;
  info.memory = total_bytes;
  info.free_memory = free_bytes;
  info.major = properties.major;
  info.minor = properties.minor;
  return info;
}

}  // namespace ivf::detail::gpu

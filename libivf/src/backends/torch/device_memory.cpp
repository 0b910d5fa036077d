#include "backends/torch/device_memory.h"

#include <dlfcn.h>

#include <array>

namespace ivf::detail::torch_backend {
namespace {

/// A function of a library that this module or LibTorch depends on; null when there is none.
template <class Function>
Function* find_function(const char* name) {
  // The module was opened with RTLD_LOCAL: its dependencies are found through a handle of its own.
  static void* const self = [] {
    Dl_info info{};
    static const int here = 0;
    return dladdr(&here, &info) != 0 ? dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
  }();
  void* found = self != nullptr ? dlsym(self, name) : nullptr;
  if (found == nullptr) found = dlsym(RTLD_DEFAULT, name);
  return reinterpret_cast<Function*>(found);
}

/// The driver's library is opened by the runtime, and is no dependency of anything.
template <class Function>
Function* find_driver_function(const char* library, const char* name) {
  void* handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
  return handle != nullptr ? reinterpret_cast<Function*>(dlsym(handle, name)) : nullptr;
}

}  // namespace

std::optional<DeviceMemory> device_memory(BuildInfo::Runtime runtime) {
  if (runtime == BuildInfo::Runtime::none) return std::nullopt;
  using MemGetInfo = int(std::size_t*, std::size_t*);
  auto* function = find_function<MemGetInfo>(runtime == BuildInfo::Runtime::cuda ? "cudaMemGetInfo" : "hipMemGetInfo");
  std::size_t free = 0, total = 0;
  if (function == nullptr || function(&free, &total) != 0) return std::nullopt;
  return DeviceMemory{free, total};
}

std::string device_model(BuildInfo::Runtime runtime, int index) {
  if (runtime == BuildInfo::Runtime::none) return {};
  using GetName = int(char*, int, int);
  auto* function = runtime == BuildInfo::Runtime::cuda
                       ? find_driver_function<GetName>("libcuda.so.1", "cuDeviceGetName")
                       : find_function<GetName>("hipDeviceGetName");
  std::array<char, 256> name{};
  if (function == nullptr || function(name.data(), static_cast<int>(name.size()) - 1, index) != 0) return {};
  return name.data();
}

}  // namespace ivf::detail::torch_backend

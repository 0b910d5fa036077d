// The native backends of the tests' module: cuda:0 is an emulated GPU. What LibTorch allocates on the CPU is memory of
// the emulator, which then knows every address that the backend gives the engine, and notices what is used after it was
// freed.

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <mutex>

#include "backends/torch/gpu_sharded.h"
#include "backends/torch/native.h"
#include "emulation/memory.h"
#include "version.h"

namespace ivf::detail::torch_backend {
namespace {

class EmulatedMemory final : public c10::Allocator {
 public:
#if IVF_TEST_DEVICE_SINCE(2, 3)
  c10::DataPtr allocate(std::size_t bytes) override { return make(bytes); }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
#else
  c10::DataPtr allocate(std::size_t bytes) const override { return make(bytes); }
#endif
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }

 private:
  static void free_block(void* address) {
    if (address != nullptr) emulation::release(address);
  }
  static c10::DataPtr make(std::size_t bytes) {
    void* address = bytes == 0 ? nullptr : emulation::allocate(bytes, 0);
    TORCH_CHECK(bytes == 0 || address != nullptr, "emulated device: out of memory: ", bytes, " bytes asked for");
    return {address, address, &free_block, c10::Device(c10::DeviceType::CPU)};
  }
};

}  // namespace

std::unique_ptr<Backend> open_native(const std::string& device) {
  const DeviceName name = DeviceName::parse(device);
  if (name.kind != "cuda" || name.index.value_or(0) != 0) return nullptr;
  static EmulatedMemory* const memory = [] {
    auto* one = new EmulatedMemory;  // Never destroyed: LibTorch may free tensors when the process ends.
    c10::SetCPUAllocator(one, /*priority=*/100);
    return one;
  }();
  static_cast<void>(memory);
  std::vector<std::unique_ptr<GpuBackend>> backends;
  for (int number = 0; number < (name.all ? gpu::device_count() : 1); ++number)
    backends.push_back(std::make_unique<GpuBackend>(std::make_shared<GpuDevice>(Runtime::open("cpu"), number)));
  return one_of(device, std::move(backends));
}

std::string native_isa(const std::string&) { return {}; }

}  // namespace ivf::detail::torch_backend

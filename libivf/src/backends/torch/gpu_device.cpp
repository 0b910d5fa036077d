#include "backends/torch/gpu_device.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <fmt/format.h>

namespace ivf::detail::torch_backend {
namespace {

constexpr std::size_t alignment = 256;  ///< What the engine asks for, and more than LibTorch's CPU gives.

}  // namespace

std::string isa_of(const gpu::DeviceInfo& info) { return fmt::format("sm_{}{}", info.major, info.minor); }

void* TensorMemory::allocate(std::size_t bytes, gpu::StreamHandle) {
  at::Tensor block = at::empty({static_cast<std::int64_t>(bytes + alignment)}, runtime_->options(at::kByte));
  const auto address = reinterpret_cast<std::uintptr_t>(block.data_ptr());
  auto* memory = reinterpret_cast<void*>((address + alignment - 1) / alignment * alignment);
  const std::lock_guard lock(mutex_);
  held_.emplace(memory, std::move(block));
  return memory;
}

void TensorMemory::release(void* memory, gpu::StreamHandle) noexcept {
  at::Tensor block;  // Freed after the lock.
  const std::lock_guard lock(mutex_);
  const auto found = held_.find(memory);
  block = std::move(found->second);
  held_.erase(found);
}

void wait_for(const Runtime& runtime) {
  if (runtime.on_host()) return;
  c10::impl::VirtualGuardImpl(runtime.device().type()).getStream(runtime.device()).synchronize();
}

GpuDevice::GpuDevice(std::shared_ptr<const Runtime> runtime, int number)
    : runtime_(std::move(runtime)),
      isa_(isa_of(gpu::device_info(number))),
      memory_(runtime_),
      engine_(number, memory_) {}

}  // namespace ivf::detail::torch_backend

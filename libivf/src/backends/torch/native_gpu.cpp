// The devices that the GPU engine computes on: those of LibTorch's own kind, from the first with bf16 products on.

#include "backends/torch/gpu_backend.h"
#include "backends/torch/native.h"

namespace ivf::detail::torch_backend {
namespace {

constexpr int least_major = 8;  ///< Compute capability.

/// The engine's number of a device that it can use.
std::optional<int> number_of(const std::string& device) {
  const DeviceName name = DeviceName::parse(device);
  if (name.kind != build_info().accelerator()) return std::nullopt;
  const int number = static_cast<int>(name.index.value_or(0));
  if (number >= gpu::device_count() || gpu::device_info(number).major < least_major) return std::nullopt;
  return number;
}

}  // namespace

std::unique_ptr<Backend> open_native(const std::string& device) {
  const auto number = number_of(device);
  if (!number) return nullptr;
  return std::make_unique<GpuBackend>(std::make_shared<GpuDevice>(Runtime::open(device), *number));
}

std::string native_isa(const std::string& device) {
  const auto number = number_of(device);
  return number ? isa_of(gpu::device_info(*number)) : std::string();
}

}  // namespace ivf::detail::torch_backend

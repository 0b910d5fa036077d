// The devices that the GPU engine computes on: those of LibTorch's own kind, from the first with bf16 products on.

#include <fmt/format.h>

#include "backends/torch/gpu_sharded.h"
#include "backends/torch/native.h"

namespace ivf::detail::torch_backend {
namespace {

constexpr int least_major = 8;  ///< Compute capability.

bool can_use(int number) { return number < gpu::device_count() && gpu::device_info(number).major >= least_major; }

/// The engine's numbers of devices that it can use, of those that the name stands for.
std::vector<int> numbers_of(const DeviceName& name) {
  if (name.kind != build_info().accelerator()) return {};
  const int first = static_cast<int>(name.index.value_or(0)), last = name.all ? gpu::device_count() : first + 1;
  std::vector<int> numbers;
  for (int number = first; number < last; ++number) {
    if (can_use(number)) numbers.push_back(number);
  }
  return numbers;
}

}  // namespace

std::unique_ptr<Backend> open_native(const std::string& device) {
  const DeviceName name = DeviceName::parse(device);
  std::vector<std::unique_ptr<GpuBackend>> backends;
  for (const int number : numbers_of(name)) {
    auto runtime = Runtime::open(fmt::format("{}:{}", name.kind, number));
    backends.push_back(std::make_unique<GpuBackend>(std::make_shared<GpuDevice>(std::move(runtime), number)));
  }
  return one_of(device, std::move(backends));
}

std::string native_isa(const std::string& device) {
  const std::vector<int> numbers = numbers_of(DeviceName::parse(device));
  return numbers.empty() ? std::string() : isa_of(gpu::device_info(numbers.front()));
}

}  // namespace ivf::detail::torch_backend

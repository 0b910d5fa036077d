#include "backends/torch/gpu_peak.h"

#include <algorithm>
#include <chrono>

namespace ivf::detail::torch_backend {
namespace {

/// The shortest of some calls, in seconds, after the device has warmed up.
template <class Body>
double least_seconds(const Runtime& runtime, Body body) {
  using Clock = std::chrono::steady_clock;
  constexpr int rounds = 12, warmup = 2;
  double least = 0;
  for (int i = 0; i < rounds; ++i) {
    const auto start = Clock::now();
    body();
    wait_for(runtime);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (i == warmup || (i > warmup && seconds < least)) least = seconds;
  }
  return least;
}

}  // namespace

DevicePeak measure_peak(GpuDevice& device) {
  const Runtime& runtime = *device.runtime();
  if (runtime.on_host()) return {};
  const std::uint64_t free = runtime.describe().free_memory;
  return device.run(1, [&](gpu::Engine&) {
    DevicePeak peak;
    {
      const auto bytes =
          static_cast<std::int64_t>(std::clamp<std::uint64_t>(free / 8, 1 << 20, std::uint64_t{1} << 30));
      const at::Tensor from = at::zeros({bytes}, runtime.options(at::kByte)), to = at::empty_like(from);
      peak.bytes_per_second = 2 * static_cast<double>(bytes) / least_seconds(runtime, [&] { to.copy_(from); });
    }
    // Numbers that are not all alike: how much power a product takes, and so how fast it is, depends on them.
    constexpr std::int64_t n = 8192;
    const at::Tensor left = at::randn({n, n}, runtime.options(at::kBFloat16)), right = at::randn_like(left);
    at::Tensor product = at::empty_like(left);
    const double products = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    peak.flops_per_second = products / least_seconds(runtime, [&] { at::mm_out(product, left, right); });
    return peak;
  });
}

}  // namespace ivf::detail::torch_backend

#include "backends/torch/build_info.h"

namespace ivf::detail::torch_backend {
namespace {

/// The number that follows `label` in `text`; empty when there is none.
std::string number_after(std::string_view text, std::string_view label) {
  const auto found = text.find(label);
  if (found == std::string_view::npos) return {};
  text.remove_prefix(found + label.size());
  const auto begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  text.remove_prefix(begin);
  const std::string_view number = text.substr(0, text.find_first_not_of("0123456789."));
  return std::string(number);
}

}  // namespace

BuildInfo BuildInfo::parse(std::string_view config) {
  // The lines are "  - CUDA Runtime 13.0" and, of a ROCm build, "  - HIP Runtime 6.4.43482" beside "  - ROCM used to
  // build PyTorch" or none. A ROCm build may name CUDA elsewhere (USE_CUDA=OFF), so HIP is looked for first.
  BuildInfo info;
  if (std::string hip = number_after(config, "HIP Runtime"); !hip.empty()) {
    info.runtime = Runtime::hip;
    info.version = std::move(hip);
  } else if (std::string cuda = number_after(config, "CUDA Runtime"); !cuda.empty()) {
    info.runtime = Runtime::cuda;
    info.version = std::move(cuda);
  }
  return info;
}

std::string BuildInfo::describe() const {
  switch (runtime) {
    case Runtime::cuda:
      return "CUDA " + version;
    case Runtime::hip:
      return "HIP " + version;
    case Runtime::none:
      break;
  }
  return {};
}

std::string_view BuildInfo::accelerator() const noexcept {
  switch (runtime) {
    case Runtime::cuda:
      return "cuda";
    case Runtime::hip:
      return "rocm";
    case Runtime::none:
      break;
  }
  return {};
}

}  // namespace ivf::detail::torch_backend

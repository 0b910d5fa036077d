#pragma once
/// \file
/// What a LibTorch says of its build, taken apart. No LibTorch header here, so that it is tested without one.

#include <string>
#include <string_view>

namespace ivf::detail::torch_backend {

/// Which device runtime a LibTorch was built with. A HIP build presents its devices as `cuda`.
struct BuildInfo {
  enum class Runtime { none, cuda, hip };
  Runtime runtime = Runtime::none;
  std::string version;  ///< Of the runtime: "13.0", "6.4.43482"; empty when there is none.

  /// `config` is what at::show_config() returns.
  static BuildInfo parse(std::string_view config);
  /// "CUDA 13.0", "HIP 6.4.43482", or empty.
  std::string describe() const;
  /// The kind of device, as users name it, that this build calls `cuda`: "cuda", "rocm", or empty.
  std::string_view accelerator() const noexcept;
};

}  // namespace ivf::detail::torch_backend

#pragma once
/// \file
/// What the LibTorch module offers to the library that opens it. No LibTorch header here.

#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "ivf/device.hpp"

namespace ivf::detail {

class TorchModule {
 public:
  virtual ~TorchModule() = default;
  virtual TorchInfo info() const = 0;
  /// Opens a library that registers a device; again for the same path does nothing. Throws Error(failed).
  virtual void load_plugin(const std::string& path) = 0;
  /// Twice where both backends compute, the native one first.
  virtual std::vector<DeviceInfo> devices() const = 0;
  /// The native backend of a device, or the portable one, as the placement asks. Throws Error(misuse) when the device
  /// is not there, saying what was found.
  virtual std::unique_ptr<Backend> open(const Placement& placement) = 0;
};

inline constexpr const char* torch_module_file = "ivf_torch.so";
/// `const char* ivf_torch_module_version()` and `ivf::detail::TorchModule* ivf_torch_module()`.
inline constexpr const char* torch_module_version_symbol = "ivf_torch_module_version";
inline constexpr const char* torch_module_symbol = "ivf_torch_module";

}  // namespace ivf::detail

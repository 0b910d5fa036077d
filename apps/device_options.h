#pragma once
/// \file
/// Where a command computes: --device, --backend, --dtype and --torch-plugin. Only commands that compute have them.

#include <string>

#include "ivf/device.hpp"
#include "options.h"

namespace ivf::cli {

class DeviceOptions {
 public:
  /// `dtype` false: the command has a --dtype of its own and calls set_dtype().
  void define(OptionSet& options, bool dtype = true);
  void set_dtype(DeviceType type) { placement_.dtype = type; }

  /// What was asked for. Throws Error(misuse) when options contradict each other.
  const Placement& placement() const;
  /// Throws Error(misuse) with `why` when a place was asked for where nothing is computed.
  void require_none(const char* why) const;

  /// The options that were given, as a command line takes them: " --device cuda"; empty for the usual place.
  std::string arguments() const;

  /// Whether kernels for the CPU compute, which take rows of full precision only, and no plugin.
  bool native_cpu() const { return placement_.device == "cpu" && placement_.backend != BackendChoice::torch; }

 private:
  Placement placement_;
};

/// --torch-plugin alone, for commands that list devices.
void define_torch_plugin(OptionSet& options, std::string& path);

/// The types of --dtype.
const Choices<DeviceType>& dtype_choices();

/// The device's name, and who computes there when that is not ivf itself: "cpu", "cuda:0 (torch)".
std::string device_title(const DeviceInfo& device);

}  // namespace ivf::cli

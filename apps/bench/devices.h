#pragma once
/// \file
/// The devices that can compute here, what each can do, and what keeps others from being used.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ivf/device.hpp"

namespace ivf::bench {

struct DeviceListing {
  std::vector<DeviceInfo> devices;  ///< The CPU first, with its model and memory.
  /// Kinds of devices (cuda, rocm, dml) that are missing, each with the reason.
  std::vector<std::pair<std::string, std::string>> unavailable;
  std::string module;              ///< File of the LibTorch module; empty: there is none.
  std::optional<TorchInfo> torch;  ///< Nothing when the module is missing or cannot be opened.
  std::string torch_problem;       ///< Why not; else empty.
};

/// Opens the LibTorch module if there is one, and the plugin. Never throws for what is missing.
DeviceListing find_devices(const std::string& torch_plugin);

/// The types that a device can keep rows in.
std::vector<std::string> device_types(const DeviceInfo& device);

/// An array, one object a device; keys as docs/environment.schema.json describes them.
nlohmann::ordered_json devices_json(const std::vector<DeviceInfo>& devices);
/// {available, module, version, runtime, config, problem}
nlohmann::ordered_json libtorch_json(const DeviceListing& listing);
nlohmann::ordered_json unavailable_json(const DeviceListing& listing);

}  // namespace ivf::bench

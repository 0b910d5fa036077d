#include "backends/registry.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <mutex>

#include <fmt/format.h>

#include "backends/torch/module.h"
#include "ivf/error.hpp"

namespace ivf {
namespace detail {
namespace {

constexpr const char* torch_remedy =
    "it is built where cmake finds LibTorch (docs/devices.md); without it --device cpu works";

TorchModule& torch_module() {
  static TorchModule* const module = [] {
    using Function = TorchModule*();
    void* found = open_module(torch_module_file, torch_module_version_symbol, torch_module_symbol, torch_remedy);
    return reinterpret_cast<Function*>(found)();
  }();
  return *module;
}

/// The module with the plugin that is asked for, or that the environment names.
TorchModule& torch_module_with(const std::string& plugin) {
  TorchModule& module = torch_module();
  if (!plugin.empty()) {
    module.load_plugin(plugin);
  } else if (const char* path = std::getenv("IVF_TORCH_PLUGIN"); path != nullptr && *path != '\0') {
    module.load_plugin(path);
  }
  return module;
}

/// Native kernels have planes of their own.
void check_native(const Placement& placement, std::string_view where) {
  if (placement.dtype != DeviceType::float32) {
    throw Error(ErrorKind::misuse, fmt::format("expected float32 for the native {} backend, found a 16-bit type; it "
                                               "already scans 16 bits of each value: leave --dtype away, or choose "
                                               "the torch backend",
                                               where));
  }
}

}  // namespace

std::shared_ptr<Backend> open_backend(const Placement& placement) {
  const DeviceName name = DeviceName::parse(placement.device);
  if (name.kind == "cpu" && placement.backend != BackendChoice::torch) {
    check_native(placement, "CPU");
    return {&cpu_backend(), [](Backend*) {}};
  }
  if (placement.backend == BackendChoice::native) check_native(placement, name.kind);
  return torch_module_with(placement.torch_plugin).open(placement);
}

}  // namespace detail

DeviceName DeviceName::parse(std::string_view text) {
  const auto colon = text.find(':');
  DeviceName name;
  name.kind = text.substr(0, colon);
  const auto kinds = {"cpu", "cuda", "rocm", "dml"};
  if (std::find(kinds.begin(), kinds.end(), name.kind) == kinds.end()) {
    throw Error(ErrorKind::misuse,
                fmt::format("expected a device of cpu, cuda[:N|:all], rocm[:N|:all] or dml[:N], found '{}'", text));
  }
  if (colon == std::string_view::npos) return name;
  if (name.kind == "cpu") {
    throw Error(
        ErrorKind::misuse,
        fmt::format("expected cpu without a number, found '{}'; threads are what its parts are chosen by", text));
  }
  const std::string_view digits = text.substr(colon + 1);
  if (digits == "all" && (name.kind == "cuda" || name.kind == "rocm")) {
    name.all = true;
    return name;
  }
  unsigned index = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() || index > 127) {
    throw Error(ErrorKind::misuse,
                fmt::format("expected a device number of 0 to 127 after the colon, found '{}'", text));
  }
  name.index = index;
  return name;
}

std::vector<DeviceInfo> list_devices(const std::string& torch_plugin, std::string* problem) {
  std::vector<DeviceInfo> found{detail::cpu_backend().device()};
  try {
    for (DeviceInfo& device : detail::torch_module_with(torch_plugin).devices()) found.push_back(std::move(device));
  } catch (const Error& error) {
    if (problem != nullptr) *problem = error.what();
  }
  return found;
}

TorchInfo torch_info() { return detail::torch_module().info(); }

bool has_torch_module() { return !find_module(detail::torch_module_file).empty(); }

}  // namespace ivf

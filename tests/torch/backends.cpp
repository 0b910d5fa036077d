#include "backends.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace ivf::support {
namespace {

std::string plugin_path() {
  const char* named = std::getenv("IVF_TEST_PLUGIN");
  const std::string path = named != nullptr ? named : IVF_BUILT_PLUGIN;
  return ::access(path.c_str(), R_OK) == 0 ? path : "";
}

/// Before anything looks for the module. LibTorch's threads otherwise wait for work by spinning, which takes minutes
/// where tests run beside each other.
const bool prepared =
    setenv("IVF_MODULE_DIR", IVF_BUILT_MODULES, 0) == 0 && setenv("OMP_WAIT_POLICY", "passive", 0) == 0;

}  // namespace

Setting::Setting(std::string name, const std::string& value) : name_(std::move(name)) {
  if (const char* before = std::getenv(name_.c_str())) before_ = before;
  setenv(name_.c_str(), value.c_str(), 1);
}

Setting::~Setting() {
  if (before_) {
    setenv(name_.c_str(), before_->c_str(), 1);
  } else {
    unsetenv(name_.c_str());
  }
}

Placement Tested::with(DeviceType dtype) const {
  Placement result = placement;
  if (torch()) result.dtype = dtype;
  return result;
}

std::vector<DeviceType> Tested::dtypes() const {
  if (!torch()) return {DeviceType::float32};
  return {std::begin(all_dtypes), std::end(all_dtypes)};
}

/// Whether the module is the one whose GPU is emulated. Other backends are tested with the usual one.
bool emulated() {
  const std::string directory = std::getenv("IVF_MODULE_DIR");
  return directory.ends_with("/emulated");
}

std::size_t fewer_if_emulated(std::size_t count) { return emulated() ? count / 4 : count; }

std::vector<Tested> tested_backends() {
  std::vector<Tested> found{{"native", {}, false, true}};
  if (!prepared || !has_torch_module()) return found;
  if (emulated()) {
    found.push_back({"emulated", {"cuda", BackendChoice::native, DeviceType::float32, {}}, false, true});
    found.push_back({"emulated, all", {"cuda:all", BackendChoice::native, DeviceType::float32, {}}, false, true});
    return found;
  }
  found.push_back({"torch cpu", {"cpu", BackendChoice::torch, DeviceType::float32, {}}, false, true});
  if (const auto placement = test_device()) {
    found.push_back({"test device", *placement, true, true});
    found.push_back({"test device without float64", *placement, true, false});
  }
  for (const DeviceInfo& device : list_devices()) {
    const DeviceName name = DeviceName::parse(device.name);
    if (name.index == 1u && device.backend == "native") {
      const std::string all = name.kind + ":all";
      found.push_back({"native " + all, {all, BackendChoice::native, DeviceType::float32, {}}, false, true});
    }
    if ((name.kind != "cuda" && name.kind != "rocm") || name.index != 0u) continue;
    const BackendChoice choice = device.backend == "native" ? BackendChoice::native : BackendChoice::torch;
    found.push_back({device.backend + " " + device.name, {device.name, choice, DeviceType::float32, {}}, false, true});
  }
  return found;
}

Tolerance tolerance_of(const Tested& tested) { return {tested.torch() ? 1u : 0u, 0, 0}; }

std::optional<Placement> test_device() {
  const std::string plugin = plugin_path();
  if (!has_torch_module() || emulated() || plugin.empty()) return std::nullopt;
  return Placement{"dml", BackendChoice::automatic, DeviceType::float32, plugin};
}

std::uint64_t device_counter(const char* name) {
  using Counter = std::uint64_t();
  void* plugin = dlopen(plugin_path().c_str(), RTLD_NOW | RTLD_NOLOAD);
  void* counter = plugin != nullptr ? dlsym(plugin, name) : nullptr;
  if (counter == nullptr) throw std::runtime_error("the test device is not loaded");
  dlclose(plugin);  // Only this handle; the module keeps its own.
  return reinterpret_cast<Counter*>(counter)();
}

std::string error_of_to(Index& index, const Placement& placement) {
  return error_of([&] { index.to(placement); });
}

}  // namespace ivf::support

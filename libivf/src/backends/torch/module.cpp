// The module's way out: two functions, and the object behind them.

#include <dlfcn.h>

#include <mutex>
#include <set>

#include <fmt/format.h>

#include "backends/torch/module.h"
#include "backends/torch/native.h"
#include "backends/torch/runtime.h"
#include "backends/torch/torch_backend.h"

namespace ivf::detail {
namespace {

class Module final : public TorchModule {
 public:
  TorchInfo info() const override { return {TORCH_VERSION, torch_backend::build_info().describe(), at::show_config()}; }

  void load_plugin(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (plugins_.count(path) != 0) return;
    // Its initialisers register the device; it stays open as long as the process lives.
    if (dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
      const char* message = dlerror();
      throw Error(ErrorKind::failed,
                  fmt::format("{}: expected a library that brings LibTorch {} a device, found one that "
                              "cannot be opened: {}; name one built for this LibTorch",
                              path, TORCH_VERSION, message != nullptr ? message : "unknown reason"));
    }
    plugins_.insert(path);
  }

  std::vector<DeviceInfo> devices() const override {
    std::vector<DeviceInfo> found;
    for (DeviceInfo& device : torch_backend::torch_devices()) {
      const std::string isa = torch_backend::native_isa(device.name);
      if (!isa.empty()) torch_backend::describe_native(found.emplace_back(device), isa);
      found.push_back(std::move(device));
    }
    return found;
  }

  std::unique_ptr<Backend> open(const Placement& placement) override {
    const bool kernels = placement.backend != BackendChoice::torch && placement.dtype == DeviceType::float32;
    if (kernels) {
      if (auto native = torch_backend::open_native(placement.device)) return native;
    }
    auto runtime = torch_backend::Runtime::open(placement.device);
    if (placement.backend == BackendChoice::native) {
      throw Error(ErrorKind::misuse,
                  fmt::format("expected a device with native kernels, found {}; leave --backend away, or choose the "
                              "torch backend",
                              placement.device));
    }
    return std::make_unique<torch_backend::TorchBackend>(std::move(runtime), placement.dtype);
  }

 private:
  std::mutex mutex_;
  std::set<std::string> plugins_;
};

}  // namespace
}  // namespace ivf::detail

extern "C" {

__attribute__((visibility("default"))) const char* ivf_torch_module_version() { return IVF_MODULE_VERSION; }

__attribute__((visibility("default"))) ivf::detail::TorchModule* ivf_torch_module() {
  static ivf::detail::Module module;
  return &module;
}
}

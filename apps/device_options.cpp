#include "device_options.h"

namespace ivf::cli {

namespace {

const Choices<BackendChoice>& backend_choices() {
  static const Choices<BackendChoice> choices = {
      {"auto", BackendChoice::automatic}, {"native", BackendChoice::native}, {"torch", BackendChoice::torch}};
  return choices;
}

}  // namespace

const Choices<DeviceType>& dtype_choices() {
  static const Choices<DeviceType> choices = {
      {"float32", DeviceType::float32}, {"float16", DeviceType::float16}, {"bfloat16", DeviceType::bfloat16}};
  return choices;
}

void define_torch_plugin(OptionSet& options, std::string& path) {
  options.text("--torch-plugin", path, "FILE", "Library that brings LibTorch the device dml; its code is run")
      .shows("$IVF_TORCH_PLUGIN");
}

void DeviceOptions::define(OptionSet& options, bool dtype) {
  options.group("Device options");
  options
      .value("--device", "DEVICE", "Where to compute: cpu, cuda[:N|:all], rocm[:N|:all] or dml[:N] (see `ivf devices`)",
             [this](std::string_view option, std::string_view text) { placement_.device = parse_device(option, text); })
      .shows("cpu")
      .offers({"cpu", "cuda", "rocm", "dml"});
  options
      .choice<BackendChoice>("--backend", placement_.backend, "NAME",
                             "Who computes: native (kernels of ivf), torch (LibTorch), or auto, the fastest there is",
                             backend_choices())
      .shows("auto");
  if (dtype) {
    options
        .choice<DeviceType>("--dtype", placement_.dtype, "TYPE",
                            "How LibTorch keeps rows: float32, float16 or bfloat16; results are the same",
                            dtype_choices())
        .shows("float32");
  }
  define_torch_plugin(options, placement_.torch_plugin);
}

const Placement& DeviceOptions::placement() const {
  if (native_cpu() && !placement_.torch_plugin.empty()) {
    misuse("--torch-plugin is for --device dml: on the CPU nothing would use it");
  }
  return placement_;
}

void DeviceOptions::require_none(const char* why) const {
  if (!native_cpu()) misuse("{}; drop --device and --backend", why);
  placement();
}

std::string DeviceOptions::arguments() const {
  std::string text;
  const auto put = [&text](const char* option, std::string_view value, std::string_view usual) {
    if (value != usual) text += fmt::format(" {} {}", option, value);
  };
  put("--device", placement_.device, "cpu");
  put("--backend", choice_name(placement_.backend, backend_choices()), "auto");
  put("--dtype", choice_name(placement_.dtype, dtype_choices()), "float32");
  put("--torch-plugin", placement_.torch_plugin, "");
  return text;
}

std::string device_title(const DeviceInfo& device) {
  return device.backend == "native" ? device.name : fmt::format("{} ({})", device.name, device.backend);
}

}  // namespace ivf::cli

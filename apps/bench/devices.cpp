#include "bench/devices.h"

#include <algorithm>

#include <fmt/format.h>

#include "bench/json.h"
#include "bench/machine.h"
#include "ivf/error.hpp"

namespace ivf::bench {
namespace {

/// Why there is no device of a kind although LibTorch is there.
std::string reason(const std::string& kind, const TorchInfo& torch) {
  if (kind == "dml") return "no library that brings it is loaded (--torch-plugin, IVF_TORCH_PLUGIN)";
  const std::string wanted = kind == "cuda" ? "CUDA" : "HIP";
  if (torch.runtime.empty()) return fmt::format("LibTorch {} is built for the CPU only", torch.version);
  if (!torch.runtime.starts_with(wanted))
    return fmt::format("LibTorch {} is built for {}", torch.version, torch.runtime);
  return fmt::format("LibTorch {}, {}, finds none that this process may use", torch.version, torch.runtime);
}

}  // namespace

DeviceListing find_devices(const std::string& torch_plugin) {
  DeviceListing listing;
  std::string problem;
  try {
    listing.devices = list_devices(torch_plugin, &problem);
  } catch (const Error& error) {  // IVF_ISA names no level of this machine.
    problem = error.what();
    listing.devices.resize(1);
    listing.devices.front().name = "cpu";
    listing.devices.front().backend = "native";
  }
  listing.module = find_module("ivf_torch.so");
  try {
    listing.torch = torch_info();
  } catch (const Error& error) {
    listing.torch_problem = error.what();
  }
  for (DeviceInfo& device : listing.devices) {
    if (device.name != "cpu") continue;
    device.description = host_cpu();
    device.total_memory = total_memory_bytes();
    device.free_memory = available_memory_bytes();
  }
  for (const std::string kind : {"cuda", "rocm", "dml"}) {
    const bool there = std::any_of(listing.devices.begin(), listing.devices.end(),
                                   [&](const DeviceInfo& device) { return device.name.starts_with(kind); });
    if (!there) listing.unavailable.emplace_back(kind, problem.empty() ? reason(kind, *listing.torch) : problem);
  }
  return listing;
}

std::vector<std::string> device_types(const DeviceInfo& device) {
  if (device.backend == "native") return {"float32"};
  return {"float32", "float16", "bfloat16"};
}

Json devices_json(const std::vector<DeviceInfo>& devices) {
  Json array = Json::array();
  for (const DeviceInfo& device : devices) {
    array.push_back({{"name", device.name},
                     {"backend", device.backend},
                     {"runtime", or_null(device.detail)},
                     {"description", or_null(device.description)},
                     {"total_memory_bytes", or_null(device.total_memory)},
                     {"free_memory_bytes", or_null(device.free_memory)},
                     {"dtypes", device_types(device)},
                     {"refines_on", device.float64 ? "device" : "host"}});
  }
  return array;
}

Json libtorch_json(const DeviceListing& listing) {
  const TorchInfo torch = listing.torch.value_or(TorchInfo{});
  return {{"available", listing.torch.has_value()}, {"module", or_null(listing.module)},
          {"version", or_null(torch.version)},      {"runtime", or_null(torch.runtime)},
          {"config", or_null(torch.config)},        {"problem", or_null(listing.torch_problem)}};
}

Json unavailable_json(const DeviceListing& listing) {
  Json object = Json::object();
  for (const auto& [kind, why] : listing.unavailable) object[kind] = why;
  return object;
}

}  // namespace ivf::bench

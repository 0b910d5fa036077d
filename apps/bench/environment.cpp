#include "bench/environment.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <CLI/Version.hpp>

#include "bench/cgroup.h"
#include "bench/cpu_info.h"
#include "bench/devices.h"
#include "bench/faiss_module.h"
#include "bench/files.h"
#include "bench/json.h"
#include "bench/machine.h"
#include "ivf/datasets/datasets.hpp"
#include "ivf/format/versions.hpp"

namespace ivf::bench {
namespace {

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }
template <class T>
Json or_null(std::optional<T> value) {
  return value ? Json(*value) : Json();
}

Json meminfo_bytes(const std::string& text, const char* key) {
  const auto kilobytes = number_in(value_of(text, key));
  return kilobytes ? Json(*kilobytes * 1024) : Json();
}

Json memory() {
  const std::string text = read_text("/proc/meminfo");
  return {{"total_bytes", meminfo_bytes(text, "MemTotal")},
          {"available_bytes", meminfo_bytes(text, "MemAvailable")},
          {"swap_total_bytes", meminfo_bytes(text, "SwapTotal")},
          {"page_bytes", sysconf(_SC_PAGESIZE)},
          {"transparent_hugepage", or_null(trimmed(read_text("/sys/kernel/mm/transparent_hugepage/enabled")))}};
}

Json limits() {
  const Cgroup cgroup;
  return {{"cpus", or_null(cgroup.cpu_limit())}, {"memory_bytes", or_null(cgroup.memory_limit())}};
}

/// NAME="value" lines, as in /etc/os-release.
std::string distribution() {
  std::istringstream lines(read_text("/etc/os-release"));
  constexpr std::string_view key = "PRETTY_NAME=";
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key)) continue;
    std::string value = line.substr(key.size());
    std::erase(value, '"');
    return value;
  }
  return "";
}

Json system_info() {
  utsname name{};
  uname(&name);
  return {{"distribution", or_null(distribution())},
          {"kernel", fmt::format("{} {}", name.release, name.version)},
          {"machine", name.machine}};
}

Json load() {
  double averages[3] = {};
  if (getloadavg(averages, 3) != 3) return nullptr;
  return {{"1min", averages[0]}, {"5min", averages[1]}, {"15min", averages[2]}};
}

Json build(const ProgramInfo& program) {
  return {{"ivf_version", program.version}, {"ivf_commit", program.commit}, {"compiler", program.compiler},
          {"build_type", IVF_BUILD_TYPE},   {"flags", IVF_BUILD_FLAGS},     {"standard", __cplusplus}};
}

std::string fmt_version() {
  return fmt::format("{}.{}.{}", FMT_VERSION / 10'000, FMT_VERSION / 100 % 100, FMT_VERSION % 100);
}

std::string json_version() {
  return fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH);
}

Json libraries() {
  Json result{{"glibc", gnu_get_libc_version()},
              {"libstdc++", nullptr},
              {"cli11", CLI11_VERSION},
              {"fmt", fmt_version()},
              {"hdf5", datasets::hdf5_version()},
              {"nlohmann_json", json_version()},
              {"xxhash", format::xxhash_version()},
              {"zstd", format::zstd_version()}};
#ifdef __GLIBCXX__
  result["libstdc++"] = std::to_string(__GLIBCXX__);
#endif
  return result;
}

/// The reference library, when its module is there.
Json faiss() {
  try {
    const LibraryInfo info = make_faiss_engine({.dim = 1, .nlist = 1})->info();
    return {{"available", true},
            {"version", info.version},
            {"compile_options", info.compile_options},
            {"problem", nullptr}};
  } catch (const Error& error) {
    return {{"available", false}, {"version", nullptr}, {"compile_options", nullptr}, {"problem", error.what()}};
  }
}

/// Graphics drivers tell their version and devices in files, whether or not a program can use them.
Json drivers() {
  Json nvidia_devices = Json::array();
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", error)) {
    nvidia_devices.push_back(or_null(value_of(read_text((entry.path() / "information").string()), "Model")));
  }
  return {{"nvidia", or_null(value_of(read_text("/proc/driver/nvidia/version"), "NVRM version"))},
          {"nvidia_devices", nvidia_devices},
          {"amdgpu", or_null(trimmed(read_text("/sys/module/amdgpu/version")))}};
}

Json variables() {
  Json result = Json::object();
  for (const char* name : {"IVF_ISA",           "IVF_MODULE_DIR",       "IVF_TORCH_PLUGIN",     "OMP_NUM_THREADS",
                           "OMP_WAIT_POLICY",   "OMP_PROC_BIND",        "OMP_PLACES",           "GOMP_SPINCOUNT",
                           "GOMP_CPU_AFFINITY", "MKL_NUM_THREADS",      "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE",
                           "BLIS_NUM_THREADS",  "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",  "ROCR_VISIBLE_DEVICES",
                           "LD_PRELOAD",        "LD_LIBRARY_PATH",      "MALLOC_ARENA_MAX",     "GLIBC_TUNABLES",
                           "IVF_DEVICE_MEMORY"}) {
    if (const char* value = std::getenv(name)) result[name] = value;
  }
  return result;
}

/// The number of a runtime ("CUDA 13.0"), when it is of that name.
Json runtime_version(const DeviceListing& listing, std::string_view name) {
  if (!listing.torch || !listing.torch->runtime.starts_with(name)) return nullptr;
  return trimmed(std::string_view(listing.torch->runtime).substr(name.size()));
}

/// Keys of torch-ivf's env.json, and all devices. Those of Python, and what LibTorch does not tell, are null.
void put_devices(Json& result, const DeviceListing& listing) {
  const auto accelerator = std::find_if(listing.devices.begin(), listing.devices.end(),
                                        [](const DeviceInfo& device) { return device.name != "cpu"; });
  const DeviceInfo& first = accelerator == listing.devices.end() ? listing.devices.front() : *accelerator;
  result["device_name"] = or_null(first.description);
  result["device_total_memory_bytes"] = first.total_memory ? Json(first.total_memory) : Json();
  result["python_version"] = nullptr;
  result["torch_version"] = listing.torch ? or_null(listing.torch->version) : Json();
  result["torch_git_version"] = nullptr;
  result["torch_hip_version"] = runtime_version(listing, "HIP");
  result["torch_cuda_version"] = runtime_version(listing, "CUDA");
  result["torch_num_threads"] = listing.torch ? Json(available_threads()) : Json();
  result["torch_num_interop_threads"] = nullptr;
  // torch-ivf's word for a GPU of either vendor.
  result["cuda_is_available"] = first.name.starts_with("cuda") || first.name.starts_with("rocm");
  result["libtorch"] = libtorch_json(listing);
  result["devices"] = devices_json(listing.devices);
  result["unavailable_devices"] = unavailable_json(listing);
}

}  // namespace

nlohmann::ordered_json environment(const ProgramInfo& program, const std::string& torch_plugin) {
  Json result;
  result["environment_version"] = environment_version;
  result["timestamp"] = utc_timestamp();
  result["host_os"] = host_os();
  result["host_platform"] = host_platform();
  result["host_cpu"] = host_cpu();
  result["threads"] = available_threads();
  result["isa"] = isa_info();
  result["cpu"] = cpu_info();
  result["memory"] = memory();
  result["cgroup_limits"] = limits();
  result["system"] = system_info();
  result["load_average"] = load();
  result["build"] = build(program);
  result["libraries"] = libraries();
  result["faiss"] = faiss();
  put_devices(result, find_devices(torch_plugin));
  result["drivers"] = drivers();
  result["variables"] = variables();
  return result;
}

}  // namespace ivf::bench

#pragma once
/// \file
/// Where an index computes: the CPU, or any device that a LibTorch supports.
///
/// LibTorch and what drives devices live in a module of their own, which is opened when a device other than the CPU, or
/// the torch backend, is asked for, and not before.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ivf {

/// Whose code does the work on a device.
enum class BackendChoice {
  automatic,  ///< The fastest there is for the device.
  native,     ///< Kernels of this project.
  torch,      ///< Tensor operations of LibTorch, on whatever device it supports.
};

/// How vectors are kept on a device. Results do not depend on it: with 16 bits a row, the rows that pass the filter are
/// re-computed on the host from the full precision.
enum class DeviceType { float32, float16, bfloat16 };

/// A request for a place to compute.
struct Placement {
  std::string device = "cpu";  ///< cpu, cuda[:N], rocm[:N] or dml[:N]; cuda:all or rocm:all for all of a host.
  BackendChoice backend = BackendChoice::automatic;
  DeviceType dtype = DeviceType::float32;
  /// A shared library that brings LibTorch a device of its own (PrivateUse1), for dml. Empty: that of the environment
  /// variable IVF_TORCH_PLUGIN, if it is set. Opening it runs its code.
  std::string torch_plugin;

  bool operator==(const Placement&) const = default;
};

/// A device's name taken apart: "cuda:1" is {cuda, 1}.
struct DeviceName {
  std::string kind;
  std::optional<unsigned> index;
  bool all = false;  ///< "cuda:all"

  /// Throws Error(misuse) when `text` names no kind of device, or numbers the CPU.
  static DeviceName parse(std::string_view text);
};

/// A device that was found.
struct DeviceInfo {
  std::string name;                                 ///< As Placement::device takes it: "cuda:0".
  std::string description;                          ///< "NVIDIA H200"; empty for the CPU.
  std::string backend;                              ///< "native" or "torch".
  std::string detail;                               ///< The instruction-set level, or the runtime ("CUDA 13.0").
  std::uint64_t total_memory = 0, free_memory = 0;  ///< Bytes; 0: unknown.
  bool float64 = true;                              ///< Survivors are re-computed on the device; else on the host.
};

/// What a device does at best, with nothing else to do; 0: not known.
struct DevicePeak {
  double bytes_per_second = 0;  ///< Of its memory, reading and writing.
  double flops_per_second = 0;  ///< Of products of bfloat16 matrices.
};

/// The LibTorch that the module was opened with.
struct TorchInfo {
  std::string version;  ///< "2.11.0"
  std::string runtime;  ///< "CUDA 13.0", "HIP 6.4", or empty: CPU only.
  std::string config;   ///< What LibTorch says of its build, on many lines.
};

/// Every device that can be used here, the CPU first. Opens the LibTorch module if there is one. `problem`, when not
/// null, gets what keeps other devices from being used, if anything: no module, a plugin that cannot be opened.
std::vector<DeviceInfo> list_devices(const std::string& torch_plugin = {}, std::string* problem = nullptr);

/// The LibTorch of the module. Throws Error(misuse) when there is no module, Error(failed) when it cannot be opened.
TorchInfo torch_info();
/// Whether a module is installed; it is not opened.
bool has_torch_module();

/// A part of the project that is loaded when it is used: the file named `file` in the directory that the environment
/// variable IVF_MODULE_DIR names or, without it, beside the program or in its lib/ivf. Checks that the function
/// `version_symbol` of it returns this library's version, and returns the address of `symbol`. The module stays open
/// until the process ends. Throws Error(misuse) with `remedy` when there is no such file, Error(failed) when it cannot
/// be used.
void* open_module(const std::string& file, const char* version_symbol, const char* symbol, const std::string& remedy);
/// The path of a module's file; empty when there is none.
std::string find_module(const std::string& file);

}  // namespace ivf

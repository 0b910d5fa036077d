#pragma once
/// \file
/// Memory and model of a GPU. LibTorch's portable interface tells neither, and its CUDA headers would tie the module to
/// CUDA: the few C functions that do are looked up in the runtime that LibTorch has loaded, whichever it is.

#include <cstdint>
#include <optional>
#include <string>

#include "backends/torch/build_info.h"

namespace ivf::detail::torch_backend {

struct DeviceMemory {
  std::uint64_t free = 0, total = 0;
};

/// Of the current device of the calling thread; nothing when the runtime does not tell.
std::optional<DeviceMemory> device_memory(BuildInfo::Runtime runtime);

/// The model's name, as "NVIDIA H200"; empty when the runtime does not tell.
std::string device_model(BuildInfo::Runtime runtime, int index);

}  // namespace ivf::detail::torch_backend

#pragma once
/// \file
/// What a GPU does at best.

#include "backends/torch/gpu_device.h"

namespace ivf::detail::torch_backend {

/// Measures large copies and matrix products. Nothing is known of a device that LibTorch takes for the CPU.
DevicePeak measure_peak(GpuDevice& device);

}  // namespace ivf::detail::torch_backend

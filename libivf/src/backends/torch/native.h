#pragma once
/// \file
/// The native backends of the module's devices. native_gpu.cpp is for a module with the GPU engine, native_none.cpp for
/// one without.

#include <memory>
#include <string>

#include "backends/backend.h"

namespace ivf::detail::torch_backend {

/// The native backend of a device; null when there is none for it, or no such device.
std::unique_ptr<Backend> open_native(const std::string& device);

/// The instruction set that it would use; empty when there is none.
std::string native_isa(const std::string& device);

/// What the portable backend says of a device becomes what the native one does.
inline void describe_native(DeviceInfo& info, const std::string& isa) {
  info.backend = "native";
  info.detail += ", " + isa;
}

}  // namespace ivf::detail::torch_backend

#pragma once
/// \file
/// Finds the backend for a placement, opening the LibTorch module when it is needed.

#include <memory>

#include "backends/backend.h"
#include "ivf/device.hpp"

namespace ivf::detail {

/// Throws Error(misuse) for a device or backend that is not there, saying what was found and what to do.
std::shared_ptr<Backend> open_backend(const Placement& placement);

}  // namespace ivf::detail

#pragma once
/// \file
/// The levels that this machine can run.

#include <vector>

#include "backends/cpu/kernels.h"

namespace ivf::detail::cpu {

/// Slowest first.
const std::vector<Kernels>& levels();

}  // namespace ivf::detail::cpu

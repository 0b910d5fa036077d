#pragma once
/// \file
/// --dtype: the type that generated or read vectors are rounded to before anything else sees them.

#include <span>

#include "ivf/device.hpp"

namespace ivf::bench {

const char* element_type_name(DeviceType type) noexcept;  ///< "float32", "float16", "bfloat16"

/// Rounds to the nearest value of the type (ties to even). Values stay float32. A value that is too large for the type
/// becomes infinite.
void round_to(DeviceType type, std::span<float> values);

}  // namespace ivf::bench

#pragma once
/// \file
/// The error bounds of the portable filter (docs/numerics.md, "The portable backend"), in one place.
///
/// The filter multiplies float32 queries with float32 rows x̂, in any order of additions and with any number of them
/// fused (u = 2^-24, γ = d·u / (1 − d·u)):
///   |q·x − D| ≤ ‖q‖‖x−x̂‖ + γ‖q‖‖x̂‖ + flush,
/// where x̂ = x unless rows are kept in 16 bits.

#include <ATen/core/ScalarType.h>

#include <cmath>
#include <cstddef>
#include <limits>

#include "ivf/device.hpp"

namespace ivf::detail::torch_backend {

/// Past these norms a product could overflow float32: such rows and queries are never discarded.
inline constexpr double largest_norm = 1e18;

/// How rows differ from what is kept of them: ‖x−x̂‖ ≤ relative·‖x‖ + absolute.
struct Rounding {
  double relative = 0, absolute = 0;
};

/// For rows of d values, multiplied by `scale` and rounded to nearest.
inline Rounding rounding_of(DeviceType dtype, double scale, std::size_t d) noexcept {
  const double root = std::sqrt(static_cast<double>(d));
  switch (dtype) {
    case DeviceType::float16:
      return {0x1p-11, 0x1p-25 / scale * root};  // Half of the last place, also of denormals.
    case DeviceType::bfloat16:
      return {0x1p-9, 0x1p-134 / scale * root};
    case DeviceType::float32:
      break;
  }
  return {};
}

/// An upper bound of |S − S'| over all rows with ‖x‖ ≤ `largest`: S the canonical score (squared distance, or negated
/// inner product) as float32, S' = ‖x‖² + ‖q‖² − 2D or −D as the filter computes it in float32, the query's own ‖q‖²
/// left out until the end. +inf where products could overflow.
inline float score_doubt(double norm, double largest, Rounding rounding, std::size_t d, bool inner_product) noexcept {
  constexpr double smallest_normal = 0x1p-126;
  if (!(norm < largest_norm) || !(largest < largest_norm)) return std::numeric_limits<float>::infinity();
  const double u = static_cast<double>(d) * 0x1p-24;
  const double gamma = u / (1 - u);
  const double residual = rounding.relative * largest + rounding.absolute;
  const double root = std::sqrt(static_cast<double>(d));
  const double flush = smallest_normal * (root * (norm + largest) + 3 * static_cast<double>(d));
  const double product = norm * residual + gamma * norm * (largest + residual) + flush;
  // A few roundings of float32 for everything that is added up or compared after the product.
  const double sum = inner_product ? norm * largest : (norm + largest) * (norm + largest);
  return static_cast<float>(((inner_product ? product : 2 * product) + sum * 0x1p-21) * (1 + 0x1p-20)) +
         std::numeric_limits<float>::min();
}

/// An upper bound of the difference of a value that was summed up in double in some order from the canonical one before
/// it is rounded to float32; `value` is the sum for L2, ‖q‖‖x‖ for an inner product.
inline double double_doubt(double value, std::size_t d) noexcept {
  return value * static_cast<double>(2 * d + 16) * 0x1p-53;
}

}  // namespace ivf::detail::torch_backend

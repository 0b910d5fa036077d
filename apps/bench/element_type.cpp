#include "bench/element_type.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace ivf::bench {
namespace {

/// Clears the last `dropped` bits of the mantissa, rounding to nearest, ties to even. A carry into the exponent is
/// right.
float drop_bits(float value, unsigned dropped) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t odd = (bits >> dropped) & 1;
  const std::uint32_t rounded = bits + ((1u << (dropped - 1)) - 1) + odd;
  return std::bit_cast<float>(rounded >> dropped << dropped);
}

float to_float16(float value) {
  // Below the smallest normal number, values are multiples of 2^-24.
  if (std::fabs(value) < 0x1p-14f) return std::nearbyint(value * 0x1p24f) * 0x1p-24f;
  const float rounded = drop_bits(value, 13);
  return std::fabs(rounded) <= 65504.0f ? rounded : std::copysign(std::numeric_limits<float>::infinity(), value);
}

}  // namespace

const char* element_type_name(DeviceType type) noexcept {
  switch (type) {
    case DeviceType::float32:
      return "float32";
    case DeviceType::float16:
      return "float16";
    case DeviceType::bfloat16:
      return "bfloat16";
  }
  return "unknown";
}

void round_to(DeviceType type, std::span<float> values) {
  if (type == DeviceType::float16) {
    for (float& value : values) value = to_float16(value);
  } else if (type == DeviceType::bfloat16) {
    for (float& value : values) value = drop_bits(value, 16);
  }
}

}  // namespace ivf::bench

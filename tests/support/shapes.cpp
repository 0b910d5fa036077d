#include "support/shapes.h"

#include <bit>
#include <cmath>
#include <numbers>

namespace ivf::shapes {
namespace {

float power_of_ten(Random& random, double low, double high) {
  return static_cast<float>(std::pow(10.0, low + (high - low) * random.unit()));
}

float signed_value(Random& random, float magnitude) { return random.bits() & 1 ? -magnitude : magnitude; }

float bf16_edge(Random& random) {
  // An ordinary exponent; the low half is a tie, one beside a tie, or an extreme.
  static const std::vector<std::uint32_t> low{0x8000, 0x7fff, 0x8001, 0x0000, 0x0001, 0xffff};
  const std::uint32_t exponent = static_cast<std::uint32_t>(random.between(120, 131)) << 23;
  const std::uint32_t high = static_cast<std::uint32_t>(random.below(128)) << 16;
  return signed_value(random, std::bit_cast<float>(exponent | high | random.pick(low)));
}

float value(Kind kind, Random& random, float row_scale) {
  switch (kind) {
    case Kind::integers:
      return static_cast<float>(random.below(256));
    case Kind::zeros:
      return signed_value(random, 0.0f);
    case Kind::offset:
      return 10000.0f + 0.01f * random.normal();
    case Kind::bf16_edges:
      return bf16_edge(random);
    case Kind::huge:
      return signed_value(random, power_of_ten(random, 18, 38.5));
    case Kind::tiny:
      return signed_value(random, power_of_ten(random, -45.5, -30));
    case Kind::mixed:
      return row_scale * static_cast<float>(2 * random.unit() - 1);
    case Kind::sparse:
      return random.below(8) == 0 ? random.normal() : 0.0f;
    case Kind::normal:
    case Kind::clustered:
    case Kind::duplicates:
    case Kind::constant:
      return random.normal();
  }
  return 0;
}

}  // namespace

float Random::normal() {
  // Box-Muller; 1 - unit() is never zero.
  const double radius = std::sqrt(-2 * std::log(1 - unit()));
  return static_cast<float>(radius * std::cos(2 * std::numbers::pi * unit()));
}

const std::vector<Kind>& all_kinds() {
  static const std::vector<Kind> kinds{Kind::normal, Kind::clustered, Kind::duplicates, Kind::constant,
                                       Kind::zeros,  Kind::integers,  Kind::offset,     Kind::bf16_edges,
                                       Kind::huge,   Kind::tiny,      Kind::mixed,      Kind::sparse};
  return kinds;
}

std::string name(Kind kind) {
  static const std::vector<std::string> names{"normal", "clustered",  "duplicates", "constant", "zeros", "integers",
                                              "offset", "bf16_edges", "huge",       "tiny",     "mixed", "sparse"};
  return names[static_cast<std::size_t>(kind)];
}

std::vector<float> matrix(Kind kind, std::size_t n, std::size_t d, Random& random) {
  std::vector<float> values(n * d);
  const std::size_t distinct = kind == Kind::constant     ? 1
                               : kind == Kind::duplicates ? 5
                               : kind == Kind::clustered  ? 6
                                                          : 0;
  std::vector<float> pool(distinct * d);
  for (float& v : pool) v = value(kind, random, 1) * (kind == Kind::clustered ? 4.0f : 1.0f);
  for (std::size_t i = 0; i < n; ++i) {
    float* row = values.data() + i * d;
    if (distinct != 0) {
      // The product of two uniform numbers favours the first clusters.
      const auto centre = static_cast<std::size_t>(random.unit() * random.unit() * static_cast<double>(distinct));
      for (std::size_t j = 0; j < d; ++j) {
        row[j] = pool[centre * d + j] + (kind == Kind::clustered ? 0.1f * random.normal() : 0.0f);
      }
    } else {
      const float row_scale = power_of_ten(random, -38, 38);
      for (std::size_t j = 0; j < d; ++j) row[j] = value(kind, random, row_scale);
    }
  }
  return values;
}

const std::vector<std::size_t>& dimensions() {
  static const std::vector<std::size_t> dims{1,  2,  3,  5,  7,   8,   9,   15,  16,  17,  31,
                                             32, 33, 63, 64, 100, 127, 128, 129, 784, 960, 2049};
  return dims;
}

}  // namespace ivf::shapes

// Conversion between stored elements, float32 and ids.

#include "elements.h"

#include <bit>
#include <cmath>
#include <limits>

#include "fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::datasets::test;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::string swapped(std::string bytes, std::size_t size) {
  for (std::size_t i = 0; i < bytes.size(); i += size) {
    std::reverse(bytes.begin() + static_cast<std::ptrdiff_t>(i), bytes.begin() + static_cast<std::ptrdiff_t>(i + size));
  }
  return bytes;
}

const std::byte* raw(const std::string& bytes) { return reinterpret_cast<const std::byte*>(bytes.data()); }

template <class Value>
void check_to_float(Element element, const std::vector<Value>& stored, const std::vector<float>& expected) {
  const std::string little = bytes_of(stored);
  for (const bool big : {false, true}) {
    const std::string bytes = big ? swapped(little, sizeof(Value)) : little;
    std::vector<float> out(expected.size());
    CHECK(to_float(element, big, raw(bytes), stored.size(), out.data()) == stored.size());
    CHECK(out == expected);
  }
}

/// Written out from the definition of IEEE binary16.
double half_value(std::uint32_t bits) {
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  const int exponent = static_cast<int>(bits >> 10 & 31);
  const int mantissa = static_cast<int>(bits & 1023);
  if (exponent == 31) return mantissa == 0 ? sign * kInfinity : kNan;
  return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

}  // namespace

TEST_CASE("elements: every type becomes float32, in both byte orders") {
  check_to_float<std::uint8_t>(Element::u8, {0, 1, 127, 128, 255}, {0, 1, 127, 128, 255});
  check_to_float<std::int8_t>(Element::i8, {0, -1, 127, -128}, {0, -1, 127, -128});
  check_to_float<std::int32_t>(Element::i32, {0, -1, 16777216, -16777216, 1 << 30},
                               {0, -1, 16777216, -16777216, 0x1p30f});
  check_to_float<std::int64_t>(Element::i64, {0, -5, std::numeric_limits<std::int64_t>::min()}, {0, -5, -0x1p63f});
  check_to_float<float>(Element::f32, {0.5f, -3e-42f, kInfinity}, {0.5f, -3e-42f, kInfinity});
  check_to_float<double>(Element::f64, {0.1, 1e300, -1e-300, 1 + 0x1p-25}, {0.1f, kInfinity, -0.0f, 1});
}

TEST_CASE("elements: every float16 has its value") {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto stored = bytes(static_cast<std::uint16_t>(bits));
    float value = 0;
    to_float(Element::f16, false, raw(stored), 1, &value);
    const double expected = half_value(bits);
    if (std::isnan(expected) ? !std::isnan(value) : value != static_cast<float>(expected)) FAIL("float16 " << bits);
    if (std::signbit(value) != ((bits & 0x8000) != 0)) FAIL("sign of float16 " << bits);
    std::uint16_t back = 0;
    if (from_float(&value, 1, Element::f16, reinterpret_cast<std::byte*>(&back)) != 1) FAIL("float16 back " << bits);
    if (std::isnan(expected) ? !std::isnan(half_value(back)) : back != bits) FAIL("float16 back " << bits);
  }
  for (const float value : {0x1p-25f, 1e-40f, 65520.0f, 65536.0f, 1 + 0x1p-11f, 0x1.8p-24f, 3e38f}) {
    std::uint16_t out = 0;
    CHECK(from_float(&value, 1, Element::f16, reinterpret_cast<std::byte*>(&out)) == 0);
  }
}

TEST_CASE("elements: integers without an exact float32 stop the conversion") {
  float out[4];
  for (const std::int64_t value : {(std::int64_t{1} << 24) + 1, -(std::int64_t{1} << 24) - 1, std::int64_t{0x7fffffff},
                                   std::numeric_limits<std::int64_t>::max()}) {
    const std::string stored = bytes(std::int64_t{1}, std::int64_t{1} << 40, value, std::int64_t{2});
    CHECK(to_float(Element::i64, false, raw(stored), 4, out) == 2);
  }
  CHECK(to_float(Element::i32, false, raw(bytes(std::int32_t{16777217})), 1, out) == 0);
  CHECK(to_float(Element::i32, false, raw(bytes(std::int32_t{16777218})), 1, out) == 1);
  CHECK(out[0] == 16777218.0f);
}

TEST_CASE("elements: integers become ids, in both byte orders") {
  const std::vector<std::int64_t> stored{0, -1, std::numeric_limits<std::int64_t>::max(),
                                         std::numeric_limits<std::int64_t>::min()};
  std::vector<idx_t> out(4);
  for (const bool big : {false, true}) {
    const std::string bytes = big ? swapped(bytes_of(stored), 8) : bytes_of(stored);
    CHECK(to_ids(Element::i64, big, raw(bytes), 4, out.data()) == 4);
    CHECK(out == stored);
  }
  CHECK(to_ids(Element::i32, true, raw(std::string("\xff\xff\xff\xfe", 4)), 1, out.data()) == 1);
  CHECK(out[0] == -2);
}

TEST_CASE("elements: a float that an integer type cannot hold stops the conversion") {
  struct Case {
    Element element;
    std::vector<float> fits;
    std::vector<float> refused;
  };
  const Case cases[] = {
      {Element::u8, {0, 255, -0.0f}, {-1, 256, 0.5f, kNan, kInfinity}},
      {Element::i8, {-128, 127}, {-129, 128, 0.25f, kNan, -kInfinity}},
      {Element::i32, {-0x1p31f, 2147483520.0f}, {0x1p31f, -2147483904.0f, 1.5f, kNan}},
      {Element::i64, {-0x1p63f, 9223371487098961920.0f}, {0x1p63f, -0x1.000002p63f, 1e-30f, kNan}},
  };
  std::byte out[8];
  for (const Case& c : cases) {
    for (const float value : c.fits) {
      CAPTURE(element_name(c.element), value);
      CHECK(from_float(&value, 1, c.element, out) == 1);
      float back = 0;
      CHECK(to_float(c.element, false, out, 1, &back) == 1);
      CHECK(back == value);
    }
    for (const float value : c.refused) {
      CAPTURE(element_name(c.element), value);
      CHECK(from_float(&value, 1, c.element, out) == 0);
    }
  }
}

TEST_CASE("elements: an id that a type cannot hold stops the conversion") {
  struct Case {
    Element element;
    std::vector<idx_t> fits;
    std::vector<idx_t> refused;
  };
  const idx_t lowest = std::numeric_limits<idx_t>::min();
  const idx_t highest = std::numeric_limits<idx_t>::max();
  const Case cases[] = {
      {Element::u8, {0, 255}, {-1, 256, lowest}},
      {Element::i8, {-128, 127}, {128, -129}},
      {Element::i32, {-2147483648LL, 2147483647LL}, {2147483648LL, -2147483649LL, highest}},
      {Element::i64, {lowest, highest}, {}},
      {Element::f32, {-16777216, 16777218, lowest}, {16777217, highest}},
      {Element::f64, {16777216, lowest}, {16777217, highest}},
      {Element::f16, {2048, -65504}, {2049, 65536, highest}},
  };
  std::byte out[8];
  for (const Case& c : cases) {
    for (const idx_t value : c.fits) {
      CAPTURE(element_name(c.element), value);
      CHECK(from_ids(&value, 1, c.element, out) == 1);
      float back = 0;
      if (c.element == Element::f32 || c.element == Element::f64 || c.element == Element::f16) {
        CHECK(to_float(c.element, false, out, 1, &back) == 1);
        CHECK(back == static_cast<float>(value));
      } else {
        idx_t id = 0;
        CHECK(to_ids(c.element, false, out, 1, &id) == 1);
        CHECK(id == value);
      }
    }
    for (const idx_t value : c.refused) {
      CAPTURE(element_name(c.element), value);
      CHECK(from_ids(&value, 1, c.element, out) == 0);
    }
  }
}

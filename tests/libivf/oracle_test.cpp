// The oracle itself: against arithmetic that is exact, and the library's row conversions against the oracle.
#include "support/oracle.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "rows.h"
#include "support/catch.hpp"
#include "support/shapes.h"

using namespace ivf;

TEST_CASE("oracle: canonical values agree with exact integer arithmetic") {
  shapes::Random random(1);
  for (const std::size_t d : shapes::dimensions()) {
    const auto a = shapes::matrix(shapes::Kind::integers, 1, d, random);
    const auto b = shapes::matrix(shapes::Kind::integers, 1, d, random);
    std::int64_t l2 = 0, ip = 0;
    for (std::size_t i = 0; i < d; ++i) {
      const auto x = static_cast<std::int64_t>(a[i]), y = static_cast<std::int64_t>(b[i]);
      l2 += (x - y) * (x - y);
      ip += x * y;
    }
    CHECK(oracle::squared_distance(a.data(), b.data(), d) == static_cast<double>(l2));
    CHECK(oracle::inner_product(a.data(), b.data(), d) == static_cast<double>(ip));
  }
}

TEST_CASE("oracle: the eight sums are added in the order of the definition") {
  // Terms of such different size that every other tree gives another sum.
  float x[8], ones[8];
  for (int i = 0; i < 8; ++i) ones[i] = 1;
  const double terms[8] = {0x1p60, 1, -0x1p60, 3, 0x1p7, -0x1p60, 5, 0x1p60};
  for (int i = 0; i < 8; ++i) x[i] = static_cast<float>(terms[i]);
  const double expected =
      ((terms[0] + terms[4]) + (terms[2] + terms[6])) + ((terms[1] + terms[5]) + (terms[3] + terms[7]));
  CHECK(oracle::inner_product(x, ones, 8) == expected);
  double in_order = 0;
  for (const double term : terms) in_order += term;
  CHECK(in_order != expected);
}

TEST_CASE("oracle: the total order breaks ties by id and puts missing results last") {
  const oracle::Hit a{1, 5}, b{1, 7}, c{2, 0};
  CHECK(oracle::comes_before(Metric::l2, a, b));
  CHECK(oracle::comes_before(Metric::l2, b, c));
  CHECK(oracle::comes_before(Metric::ip, c, a));
  CHECK(oracle::comes_before(Metric::ip, a, b));
  CHECK_FALSE(oracle::comes_before(Metric::ip, b, a));
  // Zeros of both signs are equal values.
  CHECK(oracle::comes_before(Metric::ip, {-0.0f, 1}, {0.0f, 2}));
  CHECK(oracle::missing(Metric::l2).value == std::numeric_limits<float>::infinity());
  CHECK(oracle::missing(Metric::cosine).value == -std::numeric_limits<float>::infinity());
}

TEST_CASE("planes: every bit pattern with an interesting half survives the split") {
  for (std::uint32_t high = 0; high < 0x10000; ++high) {
    for (const std::uint32_t low : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const auto x = std::bit_cast<float>((high << 16) | low);
      const auto planes = oracle::split(x);
      if (std::bit_cast<std::uint32_t>(oracle::join(planes)) != ((high << 16) | low)) FAIL(high << " " << low);
      if (!std::isfinite(x)) continue;
      std::uint16_t hi = 0, lo = 0;
      const bool lo_is_zero = detail::split_planes(&x, 1, &hi, &lo);
      if (hi != planes.hi || lo != planes.lo || lo_is_zero != (planes.lo == 0)) FAIL(high << " " << low);
      float joined = 0;
      detail::join_planes(&hi, &lo, 1, &joined);
      if (std::bit_cast<std::uint32_t>(joined) != ((high << 16) | low)) FAIL(high << " " << low);
    }
  }
}

TEST_CASE("rows: planes, norms and normalisation equal the oracle's on every shape") {
  shapes::Random random(2);
  for (const auto kind : shapes::all_kinds()) {
    for (const std::size_t d : shapes::dimensions()) {
      const auto rows = shapes::matrix(kind, 3, d, random);
      const auto planes = detail::OwnedPlanes::from({rows.data(), 3, d});
      bool any_lo = false;
      INFO(shapes::name(kind) << " d=" << d);
      for (std::size_t i = 0; i < rows.size(); ++i) any_lo |= oracle::split(rows[i]).lo != 0;
      REQUIRE(planes.lo.empty() == !any_lo);
      for (std::size_t i = 0; i < rows.size(); ++i) {
        if (planes.hi[i] != oracle::split(rows[i]).hi) FAIL("hi " << i);
        if (any_lo && planes.lo[i] != oracle::split(rows[i]).lo) FAIL("lo " << i);
      }
      const auto normalized = oracle::normalized(rows, d);
      for (std::size_t r = 0; r < 3; ++r) {
        const float* row = rows.data() + r * d;
        const auto norm = static_cast<float>(oracle::inner_product(row, row, d));
        CHECK(std::memcmp(&norm, &planes.norms[r], sizeof norm) == 0);
        std::vector<float> y(d);
        detail::normalize_row(row, d, y.data());
        CHECK(std::memcmp(y.data(), normalized.data() + r * d, d * sizeof(float)) == 0);
      }
    }
  }
}

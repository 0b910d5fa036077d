// The kernels of every level by themselves, at every width of a tile and around every block: conversions and canonical
// arithmetic to the last bit of the scalar level's, filters against products in double.

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "backends/cpu/levels.h"
#include "buffer.h"
#include "support/address_space_limit.h"
#include "support/catch.hpp"
#include "support/shapes.h"

using namespace ivf;
using namespace ivf::detail;

namespace {

float expanded(std::uint16_t hi) { return std::bit_cast<float>(std::uint32_t{hi} << 16); }

struct Planes {
  std::vector<std::uint16_t> hi, lo;
};

Planes split(const cpu::RowKernels& kernels, const std::vector<float>& values, bool& lo_is_zero) {
  Planes planes{std::vector<std::uint16_t>(values.size()), std::vector<std::uint16_t>(values.size())};
  lo_is_zero = kernels.split(values.data(), values.size(), planes.hi.data(), planes.lo.data());
  return planes;
}

bool same(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

/// What differs from the scalar level on rows of one kind and length; "" when nothing does.
std::string row_difference(const cpu::RowKernels& kernels, shapes::Kind kind, std::size_t d, shapes::Random& random) {
  constexpr std::size_t n = 11;
  const auto values = shapes::matrix(kind, n, d, random), query = shapes::matrix(kind, 1, d, random);
  bool lo_is_zero = false, expected_zero = false;
  const Planes planes = split(kernels, values, lo_is_zero), expected = split(cpu::rows_scalar, values, expected_zero);
  if (planes.hi != expected.hi || planes.lo != expected.lo || lo_is_zero != expected_zero) return "split";
  std::vector<float> joined(values.size());
  kernels.join(planes.hi.data(), planes.lo.data(), values.size(), joined.data());
  if (std::memcmp(joined.data(), values.data(), values.size() * sizeof(float)) != 0) return "join";
  kernels.join(planes.hi.data(), nullptr, values.size(), joined.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float x = expanded(planes.hi[i]);
    if (std::memcmp(&joined[i], &x, sizeof x) != 0) return "join without lo";
  }
  double residual = 0, norm = 0, expected_residual = 0, expected_norm = 0;
  kernels.residual(query.data(), d, &residual, &norm);
  cpu::rows_scalar.residual(query.data(), d, &expected_residual, &expected_norm);
  if (!same(residual, expected_residual) || !same(norm, expected_norm)) return "residual";
  if (!same(kernels.self_dot(query.data(), d), expected_norm)) return "self_dot";

  std::vector<std::uint64_t> chosen;
  for (std::size_t count = 0; count <= n; ++count) {
    for (const bool with_lo : {true, false}) {
      float found[n], wanted[n];
      const std::uint16_t* lo = with_lo ? planes.lo.data() : nullptr;
      const cpu::RefineArgs args{query.data(), planes.hi.data(), lo, d, chosen.data(), count, found};
      cpu::RefineArgs scalar_args = args;
      scalar_args.values = wanted;
      kernels.refine_l2(&args);
      cpu::rows_scalar.refine_l2(&scalar_args);
      if (std::memcmp(found, wanted, count * sizeof(float)) != 0) return "refine_l2";
      kernels.refine_ip(&args);
      cpu::rows_scalar.refine_ip(&scalar_args);
      if (std::memcmp(found, wanted, count * sizeof(float)) != 0) return "refine_ip";
    }
    std::vector<const float*> left, right;
    for (const std::uint64_t row : chosen) {
      left.push_back(values.data() + row * d);
      right.push_back(values.data() + (n - 1 - row) * d);
    }
    float found[n], wanted[n];
    const cpu::PairArgs pairs{left.data(), right.data(), d, count, found};
    cpu::PairArgs scalar_pairs = pairs;
    scalar_pairs.values = wanted;
    kernels.pairs_l2(&pairs);
    cpu::rows_scalar.pairs_l2(&scalar_pairs);
    if (std::memcmp(found, wanted, count * sizeof(float)) != 0) return "pairs_l2";
    kernels.pairs_ip(&pairs);
    cpu::rows_scalar.pairs_ip(&scalar_pairs);
    if (std::memcmp(found, wanted, count * sizeof(float)) != 0) return "pairs_ip";
    chosen.push_back(random.below(n));
  }
  return "";
}

/// One call of scan() and maxima(): some rows of the plane, some queries of a tile.
struct ScanCase {
  std::size_t rows = 0, d = 0, nq = 0;
  bool staged = false;
  std::vector<float> queries;  ///< As the level multiplies them.
  std::vector<std::uint16_t> hi;
  std::vector<float> half_norms, block_norms, block_slops, t, kappa;
  std::size_t infinite_row = ~std::size_t{0};  ///< Its products are not looked at, but it is kept.

  double product(std::size_t row, std::size_t q) const {
    double sum = 0;
    for (std::size_t i = 0; i < d; ++i)
      sum += static_cast<double>(queries[q * d + i]) * static_cast<double>(expanded(hi[row * d + i]));
    return sum;
  }
  /// The smallest D - half_norm that survives.
  double bound(std::size_t row, std::size_t q) const {
    const std::size_t block = row / cpu::scan_block_rows;
    return static_cast<double>(t[q]) - static_cast<double>(kappa[q]) * static_cast<double>(block_norms[block]) -
           static_cast<double>(block_slops[block]);
  }
};

ScanCase scan_case(const cpu::ScanKernels& kernels, std::size_t rows, std::size_t d, std::size_t nq, bool staged,
                   shapes::Random& random) {
  ScanCase c;
  c.rows = rows;
  c.d = d;
  c.nq = nq;
  c.staged = staged;
  c.queries = shapes::matrix(shapes::Kind::normal, nq, d, random);
  const std::size_t blocks = (rows + cpu::scan_block_rows - 1) / cpu::scan_block_rows;
  const auto values = shapes::matrix(shapes::Kind::normal, blocks * cpu::scan_block_rows, d, random);
  bool lo_is_zero = false;
  c.hi = split(cpu::rows_scalar, values, lo_is_zero).hi;
  if (kernels.rounds_queries) {
    for (float& x : c.queries)
      x = expanded(static_cast<std::uint16_t>((std::bit_cast<std::uint32_t>(x) + 0x8000) >> 16));
  }
  for (std::size_t row = 0; row < rows; ++row) c.half_norms.push_back(static_cast<float>(random.unit()));
  // What lies past the last row may be read, but must not be taken for a row.
  c.half_norms.resize(blocks * cpu::scan_block_rows, -1e30f);
  for (std::size_t block = 0; block < blocks; ++block) {
    c.block_norms.push_back(static_cast<float>(random.unit()));
    c.block_slops.push_back(static_cast<float>(random.unit()));
  }
  for (std::size_t q = 0; q < kernels.tile; ++q) {
    // About a tenth of the rows survive; every fifth query keeps all, as one without a threshold does.
    const double spread = std::sqrt(static_cast<double>(d));
    c.t.push_back(q % 5 == 4 ? -std::numeric_limits<float>::infinity() : static_cast<float>(1.3 * spread));
    c.kappa.push_back(static_cast<float>(random.unit()));
  }
  return c;
}

/// Runs the kernels on a case; "" or what is wrong.
std::string scan_difference(const cpu::ScanKernels& kernels, const ScanCase& c) {
  const std::size_t d = c.d;
  const std::size_t stride = (kernels.prepared_bytes(d) + 63) / 64 * 64;
  Buffer<char> prepared(c.nq * stride), packed(kernels.packed_bytes(d)), scratch(cpu::scan_scratch_bytes);
  std::vector<const void*> pointers;
  for (std::size_t q = 0; q < c.nq; ++q) {
    kernels.prepare(c.queries.data() + q * d, d, prepared.data() + q * stride);
    pointers.push_back(prepared.data() + q * stride);
  }
  kernels.pack(pointers.data(), c.nq, d, packed.data());
  Buffer<std::uint16_t> plane(c.hi.size());
  std::copy(c.hi.begin(), c.hi.end(), plane.data());
  Buffer<char> staged(c.block_norms.size() * cpu::scan_block_rows * kernels.staged_bytes(d));
  std::memset(staged.data(), 0, staged.size());
  kernels.stage(plane.data(), c.rows, d, staged.data());
  if (!c.staged && !kernels.direct(plane.data(), d)) return "";

  constexpr std::size_t vector = 16;  // Whole vectors are stored past the last survivor.
  std::vector<float> dots(c.rows * c.nq + vector);
  std::vector<std::uint32_t> tags(dots.size());
  const void* rows_data = c.staged ? static_cast<const void*>(staged.data()) : plane.data();
  const cpu::ScanArgs args{rows_data,
                           c.staged,
                           c.rows,
                           d,
                           true,
                           packed.data(),
                           c.nq,
                           c.half_norms.data(),
                           c.block_norms.data(),
                           c.block_slops.data(),
                           c.t.data(),
                           c.kappa.data(),
                           scratch.data(),
                           dots.data(),
                           tags.data()};
  const std::size_t found = kernels.scan(&args);
  if (found > c.rows * c.nq) return fmt::format("{} survivors", found);
  std::map<std::uint32_t, float> survivors;
  for (std::size_t i = 0; i < found; ++i) {
    if (!survivors.emplace(tags[i], dots[i]).second) return fmt::format("tag {} twice", tags[i]);
  }
  std::vector<float> maxima((c.rows + cpu::maxima_rows - 1) / cpu::maxima_rows * kernels.tile);
  kernels.maxima(&args, maxima.data());

  const double tolerance = 1e-5 * static_cast<double>(d) + 1e-5;
  std::size_t expected = 0;
  for (std::size_t q = 0; q < c.nq; ++q) {
    double largest = -std::numeric_limits<double>::infinity();
    bool comparable = true;
    for (std::size_t row = 0; row < c.rows; ++row) {
      const double product = c.product(row, q), half = static_cast<double>(c.half_norms[row]);
      const auto hit = survivors.find(static_cast<std::uint32_t>(row * cpu::max_tile + q));
      const bool kept = hit != survivors.end();
      expected += kept;
      const double margin = product - half - c.bound(row, q);
      if (row == c.infinite_row) {
        if (!kept) return fmt::format("row {} query {} is missing", row, q);
        comparable = false;
      } else {
        if (!kept && margin > tolerance) return fmt::format("row {} query {} is missing", row, q);
        if (kept && margin < -tolerance) return fmt::format("row {} query {} should be discarded", row, q);
        if (kept && !(std::fabs(static_cast<double>(hit->second) - product) <= tolerance))
          return fmt::format("row {} query {}: {} instead of {}", row, q, hit->second, product);
        largest = std::max(largest, product - half);
      }
      if ((row + 1) % cpu::maxima_rows != 0 && row + 1 != c.rows) continue;
      const float maximum = maxima[row / cpu::maxima_rows * kernels.tile + q];
      if (comparable && !(std::fabs(static_cast<double>(maximum) - largest) <= tolerance))
        return fmt::format("maximum of the group of row {} query {}: {} instead of {}", row, q, maximum, largest);
      largest = -std::numeric_limits<double>::infinity();
      comparable = true;
    }
  }
  return expected == found ? "" : fmt::format("{} survivors of no row or query", found - expected);
}

}  // namespace

TEST_CASE("kernels: rows of every level equal the scalar level's to the last bit") {
  for (const auto& level : cpu::levels()) {
    shapes::Random random(31);
    for (const auto kind : shapes::all_kinds()) {
      for (const std::size_t d : shapes::dimensions()) {
        if (d > 300) continue;
        INFO(level.level << " " << shapes::name(kind) << " d=" << d);
        REQUIRE(row_difference(*level.rows, kind, d, random) == "");
      }
    }
  }
}

TEST_CASE("kernels: scans keep what must be kept, at every width of a tile and number of rows") {
  // A sanitizer finds at every other width what it would at all.
  constexpr std::size_t step = support::kSanitized ? 11 : 3;
  for (const auto& level : cpu::levels()) {
    shapes::Random random(32);
    for (const std::size_t d : {1, 2, 3, 8, 31, 32, 33, 64, 95, 128}) {
      for (std::size_t nq = 1; nq <= level.scan->tile; nq += nq < 4 || nq + 2 >= level.scan->tile ? 1 : step) {
        for (const std::size_t rows : {1, 7, 8, 9, 31, 32, 33, 75}) {
          for (const bool staged : {false, true}) {
            INFO(fmt::format("{} d={} nq={} rows={} staged={}", level.level, d, nq, rows, staged));
            REQUIRE(scan_difference(*level.scan, scan_case(*level.scan, rows, d, nq, staged, random)) == "");
          }
        }
      }
    }
  }
}

TEST_CASE("kernels: an infinity spoils only its own row") {
  for (const auto& level : cpu::levels()) {
    shapes::Random random(33);
    for (const std::size_t d : {1, 3, 32, 33, 63}) {
      for (const bool staged : {false, true}) {
        ScanCase c = scan_case(*level.scan, 40, d, level.scan->tile, staged, random);
        c.infinite_row = 8;  // The first of a group of maxima(); the row before it ends another.
        for (std::size_t i = 0; i < d; ++i) c.hi[c.infinite_row * d + i] = 0x7f80;
        c.half_norms[c.infinite_row] = std::numeric_limits<float>::infinity();
        c.block_slops[0] = std::numeric_limits<float>::infinity();
        INFO(fmt::format("{} d={} staged={}", level.level, d, staged));
        CHECK(scan_difference(*level.scan, c) == "");
      }
    }
  }
}

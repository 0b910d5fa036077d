#include "rows.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>

#include "backends/cpu/kernels.h"
#include "parallel.h"

namespace ivf::detail {

bool split_planes(const float* rows, std::size_t count, std::uint16_t* hi, std::uint16_t* lo) noexcept {
  return cpu::best_kernels().rows->split(rows, count, hi, lo);
}

void join_planes(const std::uint16_t* hi, const std::uint16_t* lo, std::size_t count, float* rows) noexcept {
  cpu::best_kernels().rows->join(hi, lo, count, rows);
}

void squared_norms(MatrixView rows, float* norms) noexcept {
  const auto& kernels = *cpu::best_kernels().rows;
  for (std::size_t i = 0; i < rows.rows; ++i) {
    norms[i] = static_cast<float>(kernels.self_dot(rows.row(i), rows.dim));
  }
}

namespace {

/// The squared residual of a row over its squared norm.
double residual_ratio(double residual, double norm) noexcept {
  // A value that rounds up to infinity in bf16 makes the residual infinite. Its row's norm overflows float32, and such
  // rows are never discarded by a scan, so the bound need not hold for them.
  return std::isfinite(residual) && norm > 0 ? residual / norm : 0.0;
}

float root_rounded_up(double ratio) noexcept {
  // The sums are of at most 2^16 rounded squares of exact differences: far below the relative 2^-30 added here.
  const double bound = std::sqrt(ratio) * (1 + 0x1p-30);
  const auto rounded = static_cast<float>(bound);
  return rounded < bound ? std::nextafter(rounded, std::numeric_limits<float>::infinity()) : rounded;
}

}  // namespace

float residual_bound(const float* rows, std::size_t n, std::size_t dim) noexcept {
  const auto& kernels = *cpu::best_kernels().rows;
  double worst = 0;
  for (std::size_t i = 0; i < n; ++i) {
    double residual = 0, norm = 0;
    kernels.residual(rows + i * dim, dim, &residual, &norm);
    worst = std::max(worst, residual_ratio(residual, norm));
  }
  return root_rounded_up(worst);
}

float residual_bound(const float* row, std::size_t dim, float& squared_norm) noexcept {
  double residual = 0, norm = 0;
  cpu::best_kernels().rows->residual(row, dim, &residual, &norm);
  squared_norm = static_cast<float>(norm);
  return root_rounded_up(residual_ratio(residual, norm));
}

float squared_distance(const float* a, const float* b, std::size_t dim) noexcept {
  float value = 0;
  const cpu::PairArgs pair{&a, &b, dim, 1, &value};
  cpu::best_kernels().rows->pairs_l2(&pair);
  return value;
}

std::size_t first_nonfinite(const float* values, std::size_t count) noexcept {
  // Blocks let the compiler vectorise the common case: nothing to find.
  constexpr std::uint32_t limit = 0x7f800000u;  // The magnitude of infinity; NaN lies above.
  constexpr std::size_t block = 1024;
  for (std::size_t begin = 0; begin < count; begin += block) {
    const std::size_t end = begin + block < count ? begin + block : count;
    std::uint32_t largest = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(values[i]) & 0x7fffffffu;
      largest = magnitude > largest ? magnitude : largest;
    }
    if (largest < limit) continue;
    for (std::size_t i = begin; i < end; ++i) {
      if ((std::bit_cast<std::uint32_t>(values[i]) & 0x7fffffffu) >= limit) return i;
    }
  }
  return count;
}

void normalize_row(const float* x, std::size_t d, float* y) noexcept {
  const double norm = std::sqrt(cpu::best_kernels().rows->self_dot(x, d));
  for (std::size_t i = 0; i < d; ++i) y[i] = norm > 0 ? static_cast<float>(static_cast<double>(x[i]) / norm) : 0.0f;
}

OwnedPlanes OwnedPlanes::from(MatrixView rows, unsigned threads) {
  constexpr std::size_t tail = 32;  // 64 bytes that a scan may read past the end.
  OwnedPlanes planes;
  planes.rows = rows.rows;
  planes.hi = Buffer<std::uint16_t>(rows.rows * rows.dim + tail);
  std::fill_n(planes.hi.data() + rows.rows * rows.dim, tail, std::uint16_t{0});
  planes.lo = Buffer<std::uint16_t>(rows.rows * rows.dim);
  planes.norms.resize(rows.rows);
  std::atomic<bool> lo_is_zero{true};
  parallel_for(threads, rows.rows, 64, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t at = i * rows.dim;
      if (!split_planes(rows.row(i), rows.dim, planes.hi.data() + at, planes.lo.data() + at))
        lo_is_zero.store(false, std::memory_order_relaxed);
    }
    squared_norms(rows.slice(begin, end - begin), planes.norms.data() + begin);
  });
  if (lo_is_zero) planes.lo = {};
  return planes;
}

format::Planes OwnedPlanes::view(std::size_t dim) const noexcept {
  return {{hi.data(), rows * dim}, {lo.data(), lo.size()}, norms};
}

}  // namespace ivf::detail

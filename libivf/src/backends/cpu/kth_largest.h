#pragma once
/// \file
/// Selection across lanes, in loops that the compiler turns into the vectors of the file that includes this.
/// Everything has internal linkage: each level has its own.

#include <stddef.h>

#include "backends/cpu/kernels.h"

namespace ivf::detail::cpu {
namespace {

/// RowKernels::kth_largest. The bound lies at most a few thousandths of the column's range below the k-th largest.
/// Groups whose rows are all hidden have -inf, which is no end of a range to halve.
inline void kth_largest(const float* values, size_t count, size_t stride, size_t lanes, size_t k, float* bound) {
  constexpr int steps = 9;
  // Bisection: `low` is always reached by k values, `high` bounds the k-th largest from above.
  float low[max_tile], high[max_tile], middle[max_tile];
  int reached[max_tile];
  for (size_t lane = 0; lane < lanes; ++lane) {
    low[lane] = __builtin_inff();
    high[lane] = -__builtin_inff();
    reached[lane] = 0;
  }
  for (size_t i = 0; i < count; ++i) {
    const float* row = values + i * stride;
    for (size_t lane = 0; lane < lanes; ++lane) {
      const bool shown = row[lane] > -__builtin_inff();
      reached[lane] += shown;
      low[lane] = shown && row[lane] < low[lane] ? row[lane] : low[lane];
      high[lane] = row[lane] > high[lane] ? row[lane] : high[lane];
    }
  }
  if (k == 1) {
    for (size_t lane = 0; lane < lanes; ++lane) bound[lane] = high[lane];
    return;
  }
  for (size_t lane = 0; lane < lanes; ++lane)
    low[lane] = reached[lane] >= static_cast<int>(k) ? low[lane] : -__builtin_inff();
  for (int step = 0; step < steps; ++step) {
    for (size_t lane = 0; lane < lanes; ++lane) {
      middle[lane] = low[lane] + (high[lane] - low[lane]) * 0.5f;
      reached[lane] = 0;
    }
    for (size_t i = 0; i < count; ++i) {
      const float* row = values + i * stride;
      for (size_t lane = 0; lane < lanes; ++lane) reached[lane] += row[lane] >= middle[lane];
    }
    for (size_t lane = 0; lane < lanes; ++lane) {
      const bool enough = reached[lane] >= static_cast<int>(k);
      low[lane] = enough ? middle[lane] : low[lane];
      high[lane] = enough ? high[lane] : middle[lane];
    }
  }
  for (size_t lane = 0; lane < lanes; ++lane) bound[lane] = low[lane];
}

}  // namespace
}  // namespace ivf::detail::cpu

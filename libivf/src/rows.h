#pragma once
/// \file
/// Conversion between float32 rows and two-plane storage, canonical norms and normalisation: the parts of the numerics
/// that ingest needs. Vectorised where the CPU allows; the results do not depend on it.

#include <cstdint>
#include <vector>

#include "buffer.h"
#include "ivf/format/container.hpp"
#include "ivf/types.hpp"

namespace ivf::detail {

/// Splits n*d floats into planes. Returns whether every lo is zero.
bool split_planes(const float* rows, std::size_t count, std::uint16_t* hi, std::uint16_t* lo) noexcept;
/// The inverse; lo may be null (all zero).
void join_planes(const std::uint16_t* hi, const std::uint16_t* lo, std::size_t count, float* rows) noexcept;
/// An upper bound (rounded up) of ‖x−x̂‖/‖x‖ over rows, x̂ being the hi plane; 0 for zero rows. For
/// SegmentView::residuals.
float residual_bound(const float* rows, std::size_t n, std::size_t dim) noexcept;
/// The same of one row, with its squared norm (squared_norms()) from the same pass.
float residual_bound(const float* row, std::size_t dim, float& squared_norm) noexcept;

/// Asks for a row that is read soon and lies anywhere in memory.
inline void prefetch_row(const float* row, std::size_t dim) noexcept {
  // The hardware follows a long row once it has seen its first lines.
  constexpr std::size_t line = 64 / sizeof(float), most = 32 * line;
  for (std::size_t i = 0; i < dim && i < most; i += line) __builtin_prefetch(row + i);
}
/// Canonical squared norms of rows (rounded to float32).
void squared_norms(MatrixView rows, float* norms) noexcept;
/// The canonical squared distance of two rows (rounded to float32).
float squared_distance(const float* a, const float* b, std::size_t dim) noexcept;
/// Index of the first value that is NaN or infinite; `count` when there is none.
std::size_t first_nonfinite(const float* values, std::size_t count) noexcept;
/// Normalises one row canonically: y_i = float(double(x_i) / sqrt(s)), s the unrounded canonical inner product of x
/// with itself.
void normalize_row(const float* x, std::size_t d, float* y) noexcept;

/// Rows in two planes that this object owns, with 64 readable bytes past the end of hi.
struct OwnedPlanes {
  Buffer<std::uint16_t> hi, lo;  ///< lo is empty when all zero.
  std::vector<float> norms;
  std::size_t rows = 0;

  static OwnedPlanes from(MatrixView rows, unsigned threads = 1);
  format::Planes view(std::size_t dim) const noexcept;
};

}  // namespace ivf::detail

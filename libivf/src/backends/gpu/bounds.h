#pragma once
/// \file
/// Error bounds of the filter on a GPU (docs/numerics.md, "What the filter may discard"; docs/gpu.md, "The bound").
///
/// A score is smaller for a better row: S = ‖x‖² + ‖q‖² − 2q·x (L2) or −q·x (inner product). Kernels compute
/// v = D − h in float32, D the approximate product and h ("half") a constant of the row: ‖x‖²/2 less a relative 2^-20
/// (L2), or 0. With m = −2, Q = ‖q‖² (L2) or m = −1, Q = 0, and a constant E of (query, list),
///
///   m·v + Q − E  <=  S  <=  m·v + Q + E,    E = 2(κ n + flush) + slack (L2) or κ n + flush + slack,
///
/// n the largest norm of the list. The slack, 2^-15 (‖q‖² + n²) or 2^-15 ‖q‖ n, pays for the float32 arithmetic on h,
/// v and the bounds themselves, each operation of which loses at most 2^-22 of that sum, for h's 2^-20, and for the
/// lowest 6 bits of v, in which a survivor keeps its place: 2^-17 of |v|, and |v| <= ‖q‖ n + n²/2 <= ‖q‖² + n².
///
/// κ is that of the CPU (cpu/bounds.h) but for γ: matrix units add several products at once and truncate, after
/// aligning them to the largest. A step of b products and the sum so far loses at most (b + 2) units in the last place
/// (2^-23) of the largest partial sum, none of which passes Σ|q̂ᵢx̂ᵢ| by more than that. With b >= 2, which holds for
/// every matrix unit (they have b >= 4), d dimensions lose at most d/b · (b + 2) · 2^-23 <= 4 d 2^-24 of it: γ is four
/// times that of an IEEE sum. Plain fused multiply-adds lose less.
///
/// Rows and queries whose norm passes 10^18 are never discarded: h, or E, is NaN, and every test keeps NaN.

#include <cfloat>

#include "backends/gpu/views.h"

namespace ivf::detail::gpu {

constexpr double largest_norm = 1e18;
constexpr double smallest_normal = 0x1p-126;

#if defined(IVF_DEVICE_CODE)

/// From ‖q‖² and the squared norm of what the filter rounds off q (0 when it multiplies q itself), each within a
/// relative 2^-32 of the exact sum.
__device__ inline QueryInfo query_info(double square, double residual_square, unsigned d) {
  QueryInfo q;
  const double norm = sqrt(square) * (1 + 0x1p-30), residual = sqrt(residual_square) * (1 + 0x1p-30);
  const double root = sqrt(static_cast<double>(d));
  // Steps are padded to 16 dimensions.
  const double u = static_cast<double>((d + 15) / 16 * 16) * 0x1p-22;
  const double gamma = u / (1 - u);
  const double rounding = residual + gamma * (norm + residual);
  q.square = square;
  q.norm = norm < largest_norm ? norm : static_cast<double>(INFINITY);
  q.flush = smallest_normal * (root * norm + 3 * static_cast<double>(d));
  q.slope = rounding + smallest_normal * root;
  q.slope_residual = rounding + norm;
  return q;
}

/// E of a query and a list (or all rows, with the largest of their constants); NaN when the query cannot be compared.
__device__ inline float score_error(const QueryInfo& q, float residual, float norm, bool inner_product) {
  if (!(q.norm < largest_norm)) return NAN;
  const double n = norm;
  const double error = (q.slope + q.slope_residual * static_cast<double>(residual)) * n + q.flush;
  const double wide = inner_product ? error + q.norm * n * 0x1p-15 : 2 * error + (q.square + n * n) * 0x1p-15;
  // The smallest denormal covers bounds that round among the denormals.
  return __double2float_ru(wide * (1 + 0x1p-20) + 0x1p-140);
}

/// Coefficients of the bounds of a query in a list: upper = scale·v + upper_offset, lower = upper - 2E.
struct ScoreBounds {
  float scale, offset, error;
  __device__ float upper(float v) const { return fmaf(scale, v, offset) + error; }
  __device__ float lower(float v) const { return fmaf(scale, v, offset) - error; }
  /// v below it: the score is worse than `limit`. Minus infinity, or NaN, keeps everything.
  __device__ float threshold(float limit) const {
    // Where no product can overflow, v is minus infinity only for places without a row.
    if (limit == INFINITY) return error == error ? -FLT_MAX : -INFINITY;
    const double exact = (static_cast<double>(offset) - static_cast<double>(error) - static_cast<double>(limit)) *
                         (scale == -2.0f ? 0.5 : 1.0);
    return __double2float_rd(exact - (fabs(static_cast<double>(offset)) + fabs(static_cast<double>(limit))) * 0x1p-23);
  }
};

__device__ inline ScoreBounds score_bounds(const QueryInfo& q, float residual, float norm, bool inner_product) {
  return {inner_product ? -1.0f : -2.0f, inner_product ? 0.0f : static_cast<float>(q.square),
          score_error(q, residual, norm, inner_product)};
}

/// The half of a row from its stored squared norm.
__device__ inline float half_of(float squared_norm, bool inner_product) {
  const double norm = sqrt(static_cast<double>(squared_norm) * (1 + 0x1p-22) + 0x1p-148);
  if (!(norm < largest_norm)) return NAN;
  return inner_product ? 0.0f : static_cast<float>(static_cast<double>(squared_norm) * (0.5 * (1 - 0x1p-20)));
}

#endif

}  // namespace ivf::detail::gpu

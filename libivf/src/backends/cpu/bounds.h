#pragma once
/// \file
/// The error bounds of the filter (docs/numerics.md, "What the filter may discard"), in one place.
///
/// With q̂, x̂ the operands of the filter, D its float32 dot product and u = 2^-24:
///   |q·x − D| ≤ ‖q−q̂‖‖x̂‖ + ‖q‖‖x−x̂‖ + γ‖q̂‖‖x̂‖ + flush,   γ = d·u / (1 − d·u),
/// and with ‖x−x̂‖ ≤ ρ‖x‖ over the rows of a list this is at most κ‖x‖ + flush_q, κ a constant of (query, list).

#include <cmath>
#include <cstddef>
#include <limits>

namespace ivf::detail::cpu {

/// No limit yet, and the score of what is not there.
inline constexpr float infinity = std::numeric_limits<float>::infinity();

/// What the bounds need to know of a query.
struct QueryNorms {
  double square = 0;    ///< q·q, canonical, unrounded.
  double norm = 0;      ///< ‖q‖
  double residual = 0;  ///< ‖q−q̂‖, 0 for levels that do not round queries.
  double flush = 0;     ///< Absolute error of flushed denormals that does not depend on the row.
  double slope = 0;     ///< kappa = slope + slope_rho * rho
  double slope_rho = 0;
};

/// Rows and queries with a norm past this could overflow a float32 product of norms: they are never discarded.
inline constexpr double largest_norm = 1e18;

/// Absolute error a dimension: tile products treat denormal inputs and results as zero.
inline constexpr double smallest_normal = 0x1p-126;

inline QueryNorms query_norms(double square, double residual_square, std::size_t d) noexcept {
  // The canonical sums of d <= 2^16 terms are within a relative 2^-36 of the exact ones.
  QueryNorms q;
  q.square = square;
  q.norm = std::sqrt(square) * (1 + 0x1p-30);
  q.residual = std::sqrt(residual_square) * (1 + 0x1p-30);
  const double root = std::sqrt(static_cast<double>(d));
  q.flush = smallest_normal * (root * q.norm + 3 * static_cast<double>(d));
  const double u = static_cast<double>(d) * 0x1p-24;
  const double gamma = u / (1 - u);
  const double rounding = q.residual + gamma * (q.norm + q.residual);
  constexpr double spare = 1 + 0x1p-20;  // For float32 arithmetic on kappa.
  q.slope = (rounding + smallest_normal * root) * spare;
  q.slope_rho = (rounding + q.norm) * spare;
  return q;
}

/// κ for rows whose residuals are at most rho·‖x‖.
inline double kappa(const QueryNorms& q, double rho) noexcept { return q.slope + q.slope_rho * rho; }

/// An upper bound of ‖x‖ from the stored float32 squared norm; +inf when that overflowed.
inline double norm_bound(float squared) noexcept {
  // Half an ulp for the rounding, and 2^-148 for a square that went to zero.
  return std::sqrt(static_cast<double>(squared) * (1 + 0x1p-22) + 0x1p-148);
}

/// t of ScanArgs: the part of the discard bound that depends on the query and its threshold alone.
inline float discard_offset(const QueryNorms& q, float limit, bool inner_product) noexcept {
  constexpr float keep_all = -std::numeric_limits<float>::infinity();
  if (!(q.norm < largest_norm) || limit == std::numeric_limits<float>::infinity()) return keep_all;
  // L2 discards when ‖x‖² + ‖q‖² − 2D − 2e > limit, inner product when −D − e > limit; 2^-22 covers the float32
  // arithmetic.
  const double magnitude = std::fabs(static_cast<double>(limit)) + (inner_product ? 0.0 : q.square);
  const double offset = inner_product ? -static_cast<double>(limit) : (q.square - static_cast<double>(limit)) / 2;
  return static_cast<float>(offset - magnitude * 0x1p-22 - q.flush);
}

/// An upper bound of a norm from its square, as abandoning wants it (docs/numerics.md, "Abandoning a row").
inline float rest_bound(double square) noexcept {
  return static_cast<float>(std::sqrt(square) * (1 + 0x1p-20)) + static_cast<float>(smallest_normal);
}

/// AbandonArgs::scale for rows whose residuals are at most rho·‖x‖.
inline float abandon_scale(double rho, std::size_t d) noexcept {
  const double u = static_cast<double>(d) * 0x1p-24;
  return static_cast<float>((1 + rho) * (1 + rho) * (1 + u / (1 - u)) * (1 + 0x1p-20));
}

struct ScoreBounds {
  float lower, upper;
};

/// Bounds of the canonical score of a row from its approximate dot product. `slope` is kappa(), `norm` at least ‖x‖.
inline ScoreBounds score_bounds(const QueryNorms& q, float dot, float squared_norm, double norm, double slope,
                                bool inner_product) noexcept {
  const double error = slope * norm + q.flush;
  const double square = static_cast<double>(squared_norm);
  const double score = inner_product ? -static_cast<double>(dot) : square + q.square - 2 * static_cast<double>(dot);
  const double slack = inner_product ? error : 2 * error + (square + q.square) * 0x1p-23;
  constexpr float inf = std::numeric_limits<float>::infinity();
  if (!(norm < largest_norm) || !(q.norm < largest_norm) || !std::isfinite(score)) return {-inf, inf};
  return {static_cast<float>(score - slack), static_cast<float>(score + slack)};
}

/// An upper bound of the canonical scores of rows whose float32 D − ‖x‖²/2 (L2) or D is at least `product`; `norm` is
/// at least ‖x‖ of each. All norms are below largest_norm.
inline float opening_limit(const QueryNorms& q, float product, double norm, double slope, bool inner_product) noexcept {
  const double error = slope * norm + q.flush;
  if (inner_product) return static_cast<float>(error - static_cast<double>(product));
  // 2^-21 covers the rounding of the float32 difference and of the stored norm.
  return static_cast<float>(q.square - 2 * static_cast<double>(product) + 2 * error +
                            (norm * norm + q.square) * 0x1p-21);
}

}  // namespace ivf::detail::cpu

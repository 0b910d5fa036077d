#pragma once
/// \file
/// Sums of float32 rows in fixed-point int64, which do not depend on the order of the terms.
///
/// A value x counts as the integer round(x * 2^s), ties to even. With |x| < 2^e for all values and n <= 2^m rows,
///
///   s = min(51, 62 - m) - e
///
/// makes |round(x * 2^s)| <= 2^51 for one value and <= 2^62 for the sum of n: nothing overflows int64. Values lose what
/// lies below 2^-s, at most 2^-30 of the largest one for 2^32 rows, and 2^-44 for 2^18 rows.
///
/// The rounding needs no conversion instruction: M = 1.5 * 2^(52-s) lies in a binade whose spacing is 2^-s, and as
/// |x| <= 2^(51-s), x + M stays in it. The addition therefore rounds x to a multiple of 2^-s, and the bits of the
/// result, taken as an integer, are bits(M) + round(x * 2^s). Sums are kept modulo 2^64 with count * bits(M) in them,
/// subtracted once at the end. Every step is an exact integer operation or a single IEEE rounding, so that vector code
/// gives the same bits.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace ivf::detail {

struct FixedPoint {
  int shift = 0;       ///< s
  double magic = 0;    ///< M
  double inverse = 1;  ///< 2^-s

  /// For rows whose largest magnitude is `largest`.
  static FixedPoint of(float largest, std::uint64_t rows) noexcept {
    const int e = largest > 0 ? std::ilogb(largest) + 1 : 0;
    const int m = static_cast<int>(std::bit_width(rows));  // rows < 2^m
    FixedPoint fixed;
    fixed.shift = (62 - m < 51 ? 62 - m : 51) - e;
    fixed.magic = std::ldexp(1.5, 52 - fixed.shift);
    fixed.inverse = std::ldexp(1.0, -fixed.shift);
    return fixed;
  }

  /// The mean of `count` values with this sum: one rounding to double, one of the division, one to float32.
  float mean(std::uint64_t sum, std::uint64_t count) const noexcept {
    const auto exact = static_cast<std::int64_t>(sum - count * std::bit_cast<std::uint64_t>(magic));
    return static_cast<float>(static_cast<double>(exact) * inverse / static_cast<double>(count));
  }
};

/// sums[i] += bits(x[i] + M), modulo 2^64.
inline void accumulate(const float* __restrict x, std::size_t d, double magic,
                       std::uint64_t* __restrict sums) noexcept {
  for (std::size_t i = 0; i < d; ++i) sums[i] += std::bit_cast<std::uint64_t>(static_cast<double>(x[i]) + magic);
}

/// Takes a row back that accumulate() added.
inline void deduct(const float* __restrict x, std::size_t d, double magic, std::uint64_t* __restrict sums) noexcept {
  for (std::size_t i = 0; i < d; ++i) sums[i] -= std::bit_cast<std::uint64_t>(static_cast<double>(x[i]) + magic);
}

}  // namespace ivf::detail

#pragma once
/// \file
/// Random numbers that are the same to the last bit on every machine.

#include <cstddef>
#include <cstdint>

#include "ivf/philox.hpp"

namespace ivf::datasets {

/// The quantile function of the standard normal distribution at (bits + 1/2) / 2^32.
///
/// Wichura's AS 241 (PPND16), a rational approximation with relative error below 1e-15. Methods that call log or cos
/// (Box-Muller, polar) give other bits with another C library, because no standard says how those are rounded. Here
/// everything is + - * / and sqrt, which IEEE 754 rounds exactly; the logarithm of the tails is our own, made of the
/// same operations. The build forbids the compiler to contract them (-ffp-contract=off).
double normal_quantile(std::uint32_t bits) noexcept;

/// Numbers `first` .. `first + count` of the standard normal sequence that (seed, stream) names.
void fill_normal(const Philox& source, std::uint64_t first, std::size_t count, double* out) noexcept;

/// The same for the uniform sequence in [0, 1): multiples of 2^-32.
void fill_uniform(const Philox& source, std::uint64_t first, std::size_t count, double* out) noexcept;

}  // namespace ivf::datasets

#include "normal.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace ivf::datasets {

namespace {

/// Coefficients of AS 241, highest power last: numerator and denominator for the centre and the two parts of a tail.
/// M. J. Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", Applied Statistics 37 (1988).
constexpr std::array<double, 8> kCentreUp{3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                          1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                          3.3430575583588128105e+4, 2.5090809287301226727e+3};
constexpr std::array<double, 8> kCentreDown{1.0,
                                            4.2313330701600911252e+1,
                                            6.8718700749205790830e+2,
                                            5.3941960214247511077e+3,
                                            2.1213794301586595867e+4,
                                            3.9307895800092710610e+4,
                                            2.8729085735721942674e+4,
                                            5.2264952788528545610e+3};
constexpr std::array<double, 8> kTailUp{1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
                                        3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
                                        2.27238449892691845833e-2, 7.74545014278341407640e-4};
constexpr std::array<double, 8> kTailDown{1.0,
                                          2.05319162663775882187e0,
                                          1.67638483018380384940e0,
                                          6.89767334985100004550e-1,
                                          1.48103976427480074590e-1,
                                          1.51986665636164571966e-2,
                                          5.47593808499534494600e-4,
                                          1.05075007164441684324e-9};
constexpr std::array<double, 8> kFarUp{6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
                                       2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                       2.71155556874348757815e-5, 2.01033439929228813265e-7};
constexpr std::array<double, 8> kFarDown{1.0,
                                         5.99832206555887937690e-1,
                                         1.36929880922735805310e-1,
                                         1.48753612908506148525e-2,
                                         7.86869131145613259100e-4,
                                         1.84631831751005468180e-5,
                                         1.42151175831644588870e-7,
                                         2.04426310338993978564e-15};
constexpr double kCentreHalfWidth = 0.425;

inline double horner(const std::array<double, 8>& c, double x) noexcept {
  return ((((((c[7] * x + c[6]) * x + c[5]) * x + c[4]) * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0];
}

/// Natural logarithm of a normal positive number: x = m * 2^e with m in [sqrt(1/2), sqrt(2)), log m = 2
/// atanh((m-1)/(m+1)).
double exact_steps_log(double x) noexcept {
  constexpr double kLn2 = 0.693147180559945309417232121458;
  constexpr double kSqrt2 = 1.41421356237309504880168872421;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double mantissa = std::bit_cast<double>((bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL);
  if (mantissa >= kSqrt2) {
    mantissa *= 0.5;
    ++exponent;
  }
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double square = s * s;
  // |s| < 0.172: the first term left out is below 1e-19.
  constexpr std::array<double, 12> kReciprocals{1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13,
                                                1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3,  1.0};
  double series = 0.0;
  for (const double reciprocal : kReciprocals) series = series * square + reciprocal;
  return static_cast<double>(exponent) * kLn2 + 2.0 * s * series;
}

inline double centre(double q) noexcept {
  const double r = kCentreHalfWidth * kCentreHalfWidth - q * q;
  return q * horner(kCentreUp, r) / horner(kCentreDown, r);
}

double tail(double q) noexcept {
  const double r = std::sqrt(-exact_steps_log(0.5 - std::abs(q)));
  const double value = r <= 5.0 ? horner(kTailUp, r - 1.6) / horner(kTailDown, r - 1.6)
                                : horner(kFarUp, r - 5.0) / horner(kFarDown, r - 5.0);
  return q < 0 ? -value : value;
}

/// (bits + 1/2) / 2^32 - 1/2, exactly.
inline double centred(std::uint32_t bits) noexcept {
  return (static_cast<double>(static_cast<std::int32_t>(bits ^ 0x80000000u)) + 0.5) * 0x1p-32;
}

constexpr std::size_t kBatch = 1024;

/// Numbers for one batch, and up to three more on either side, because they are made four at a time.
struct Bits {
  alignas(64) std::array<std::uint32_t, kBatch + 8> values;
  const std::uint32_t* first = nullptr;
};

/// The 32-bit numbers `first` .. `first + count` of the sequence; `count` is at most kBatch.
void fill_bits(const Philox& source, std::uint64_t first, std::size_t count, Bits& out) noexcept {
  const std::uint64_t lane = first % 4;
  const std::size_t blocks = static_cast<std::size_t>((lane + count + 3) / 4);
  for (std::size_t i = 0; i < blocks; ++i) {
    const auto block = source.block(first / 4 + i);
    for (std::size_t j = 0; j < 4; ++j) out.values[4 * i + j] = block[j];
  }
  out.first = out.values.data() + lane;
}

}  // namespace

double normal_quantile(std::uint32_t bits) noexcept {
  const double q = centred(bits);
  return std::abs(q) <= kCentreHalfWidth ? centre(q) : tail(q);
}

void fill_normal(const Philox& source, std::uint64_t first, std::size_t count, double* out) noexcept {
  Bits bits;
  for (std::size_t done = 0; done < count; done += kBatch) {
    const std::size_t size = std::min(kBatch, count - done);
    fill_bits(source, first + done, size, bits);
    // The centre holds 85 % of the numbers: computed for all, branch-free, then the tails are put right.
    for (std::size_t i = 0; i < size; ++i) out[done + i] = centre(centred(bits.first[i]));
    for (std::size_t i = 0; i < size; ++i) {
      const double q = centred(bits.first[i]);
      if (std::abs(q) > kCentreHalfWidth) out[done + i] = tail(q);
    }
  }
}

void fill_uniform(const Philox& source, std::uint64_t first, std::size_t count, double* out) noexcept {
  Bits bits;
  for (std::size_t done = 0; done < count; done += kBatch) {
    const std::size_t size = std::min(kBatch, count - done);
    fill_bits(source, first + done, size, bits);
    for (std::size_t i = 0; i < size; ++i) out[done + i] = static_cast<double>(bits.first[i]) * 0x1p-32;
  }
}

}  // namespace ivf::datasets

#include "normal.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace ivf::datasets {

namespace {

/// Coefficients of AS 241, highest power last: numerator and denominator for the centre and for the tails.
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
constexpr double kCentreHalfWidth = 0.425;

inline double horner(const std::array<double, 8>& c, double x) noexcept {
  return ((((((c[7] * x + c[6]) * x + c[5]) * x + c[4]) * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0];
}

/// Natural logarithm of a normal number in (0, 1): x = m * 2^e with m in [sqrt(1/2), sqrt(2)), and
/// log m = 2 atanh((m - 1) / (m + 1)). Without branches, so that the compiler can do several at once.
inline double exact_steps_log(double x) noexcept {
  constexpr double kLn2 = 0.693147180559945309417232121458;
  constexpr std::uint64_t kMantissa = 0x000fffffffffffffULL;
  constexpr std::uint64_t kSqrtHalf = 0x3fe6a09e667f3bcdULL;
  // |s| < 0.172: the first term left out is below 1e-19.
  constexpr std::array<double, 12> kReciprocals{1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13,
                                                1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3,  1.0};
  const auto bits = std::bit_cast<std::uint64_t>(x);
  // Counted from sqrt(1/2): what is left below the exponent says how far above it the mantissa lies.
  const std::uint64_t shifted = bits - kSqrtHalf + (std::uint64_t{64} << 52);
  const double exponent = std::bit_cast<double>((shifted >> 52) | 0x4330000000000000ULL) - (0x1p52 + 64.0);
  const double mantissa = std::bit_cast<double>((shifted & kMantissa) + kSqrtHalf);
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double square = s * s;
  double series = 0.0;
  for (const double reciprocal : kReciprocals) series = series * square + reciprocal;
  return exponent * kLn2 + 2.0 * s * series;
}

inline double centre(double q) noexcept {
  const double r = kCentreHalfWidth * kCentreHalfWidth - q * q;
  return q * horner(kCentreUp, r) / horner(kCentreDown, r);
}

/// AS 241 has another pair of polynomials where r > 5, that is beyond 6.7 standard deviations. The smallest probability
/// here, 2^-33, gives r = 4.79.
inline double tail(double q) noexcept {
  const double r = std::sqrt(-exact_steps_log(0.5 - std::abs(q))) - 1.6;
  return std::copysign(horner(kTailUp, r) / horner(kTailDown, r), q);
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
  std::array<double, kBatch> values;
  std::array<std::uint32_t, kBatch> places;
  for (std::size_t done = 0; done < count; done += kBatch) {
    const std::size_t size = std::min(kBatch, count - done);
    fill_bits(source, first + done, size, bits);
    // The centre holds 85 % of the numbers: computed for all, without branches. Then the tails, gathered first.
    std::size_t tails = 0;
    for (std::size_t i = 0; i < size; ++i) out[done + i] = centre(centred(bits.first[i]));
    for (std::size_t i = 0; i < size; ++i) {
      places[tails] = static_cast<std::uint32_t>(i);
      tails += std::abs(centred(bits.first[i])) > kCentreHalfWidth ? 1 : 0;
    }
    for (std::size_t i = 0; i < tails; ++i) values[i] = centred(bits.first[places[i]]);
    for (std::size_t i = 0; i < tails; ++i) values[i] = tail(values[i]);
    for (std::size_t i = 0; i < tails; ++i) out[done + places[i]] = values[i];
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

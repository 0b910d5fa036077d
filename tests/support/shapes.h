#pragma once
/// \file
/// Random and adversarial matrices for property tests, reproducible from a seed.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ivf/philox.hpp"
#include "ivf/types.hpp"

namespace ivf::shapes {

/// A sequence of random numbers that a test draws from.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) : philox_(seed, stream) {}
  std::uint64_t bits() { return philox_.u64(next_++); }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(bits() % n); }
  std::size_t between(std::size_t low, std::size_t high) { return low + below(high - low + 1); }
  double unit() { return static_cast<double>(bits() >> 11) * 0x1p-53; }  ///< [0, 1)
  float normal();                                                        ///< Mean 0, variance 1.
  template <class T>
  const T& pick(const std::vector<T>& values) {
    return values[below(values.size())];
  }

 private:
  Philox philox_;
  std::uint64_t next_ = 0;
};

/// What the values of a matrix are like.
enum class Kind {
  normal,      ///< Standard normal.
  clustered,   ///< A few centres with small noise: lists of very different sizes.
  duplicates,  ///< Rows drawn from a handful of distinct ones.
  constant,    ///< All rows equal.
  zeros,       ///< All values zero, of both signs.
  integers,    ///< 0 .. 255: the lo plane vanishes.
  offset,      ///< Small differences on top of a large common offset: distances cancel.
  bf16_edges,  ///< Values at, just below and just above the points where bf16 rounding turns.
  huge,        ///< Magnitudes 1e18 .. 3e38: squared distances overflow float32.
  tiny,        ///< Magnitudes 1e-30 .. denormal: products underflow float32.
  mixed,       ///< Each row of another magnitude, 1e-38 .. 1e38.
  sparse,      ///< Mostly zeros.
};

const std::vector<Kind>& all_kinds();
std::string name(Kind kind);

/// n x d values of a kind, row-major.
std::vector<float> matrix(Kind kind, std::size_t n, std::size_t d, Random& random);

/// Dimensions around every vector width and block size that a kernel may have.
const std::vector<std::size_t>& dimensions();

}  // namespace ivf::shapes

#pragma once
/// \file
/// Candidates of a top-k with proven bounds, and how the k-th smallest upper bound tightens the threshold.
///
/// A score is smaller for a better row: the squared distance, or the negated inner product. `lower` and `upper` enclose
/// the canonical float32 score: they are the exact bounds rounded to nearest, and rounding is monotone. A row whose
/// lower bound exceeds the k-th smallest upper bound is worse than k others whatever their ids, and can be discarded.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "ivf/types.hpp"

namespace ivf::detail {

struct Candidate {
  float lower;
  float upper;
  std::uint64_t
      row;  ///< Position counted over all segments; the top bit says that lower == upper is the canonical score.

  static constexpr std::uint64_t exact_bit = std::uint64_t{1} << 63;
  bool exact() const noexcept { return (row & exact_bit) != 0; }
  std::uint64_t position() const noexcept { return row & ~exact_bit; }
};

/// Replaces the largest of a max-heap of n values by a smaller one.
inline void replace_largest(float* heap, std::size_t n, float value) noexcept {
  std::size_t hole = 0;
  for (std::size_t child = 1; child < n; child = 2 * hole + 1) {
    if (child + 1 < n && heap[child + 1] > heap[child]) ++child;
    if (!(heap[child] > value)) break;
    heap[hole] = heap[child];
    hole = child;
  }
  heap[hole] = value;
}

/// Removes the candidates that cannot be among the best; returns how many are left.
inline std::size_t drop_above(Candidate* candidates, std::size_t n, float limit) {
  return static_cast<std::size_t>(
      std::remove_if(candidates, candidates + n, [limit](const Candidate& c) { return c.lower > limit; }) - candidates);
}

/// A result in the order of scores.
struct Hit {
  float score;
  idx_t id;
  friend bool operator<(const Hit& a, const Hit& b) noexcept {
    return a.score != b.score ? a.score < b.score : a.id < b.id;
  }
};

}  // namespace ivf::detail

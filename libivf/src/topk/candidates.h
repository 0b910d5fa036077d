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
#include <tuple>
#include <utility>
#include <vector>

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

/// The k smallest of the numbers that were pushed, of which only the largest is asked for. Storage is the caller's: k
/// floats. Few are kept sorted, for insertion beats a heap whose comparisons cannot be predicted; many in a max-heap.
class Smallest {
 public:
  static constexpr std::size_t sorted_k = 32;

  Smallest(float* values, std::size_t k, std::uint32_t& size) noexcept : values_(values), k_(k), size_(size) {}

  bool full() const noexcept { return size_ == k_; }
  /// The k-th smallest number. Only when full().
  float kth() const noexcept { return k_ <= sorted_k ? values_[k_ - 1] : values_[0]; }

  void push(float value) noexcept {
    if (k_ <= sorted_k) {
      insert(value);
    } else if (size_ < k_) {
      values_[size_++] = value;
      std::push_heap(values_, values_ + size_);
    } else if (value < values_[0]) {
      replace_largest(value);
    }
  }

 private:
  void insert(float value) noexcept {
    if (size_ == k_) {
      if (!(value < values_[k_ - 1])) return;
    } else {
      ++size_;
    }
    std::size_t i = size_ - 1;
    for (; i > 0 && values_[i - 1] > value; --i) values_[i] = values_[i - 1];
    values_[i] = value;
  }

  void replace_largest(float value) noexcept {
    std::size_t hole = 0;
    for (std::size_t child = 1; child < k_; child = 2 * hole + 1) {
      if (child + 1 < k_ && values_[child + 1] > values_[child]) ++child;
      if (!(values_[child] > value)) break;
      values_[hole] = values_[child];
      hole = child;
    }
    values_[hole] = value;
  }

  float* values_;
  std::size_t k_;
  std::uint32_t& size_;
};

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

/// Sorts values[i], i < n, whose keys are keys[i]; equal keys stay in their order. Few are placed by counting how many
/// are smaller, which takes no branch that cannot be predicted.
template <class T>
void sort_by_keys(float* keys, T* values, std::size_t n) {
  constexpr std::size_t counted = 64;
  if (n > counted) {
    std::vector<std::pair<float, T>> pairs(n);
    for (std::size_t i = 0; i < n; ++i) pairs[i] = {keys[i], values[i]};
    std::stable_sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (std::size_t i = 0; i < n; ++i) std::tie(keys[i], values[i]) = pairs[i];
    return;
  }
  float old_keys[counted];
  T old_values[counted];
  std::copy_n(keys, n, old_keys);
  std::copy_n(values, n, old_values);
  for (std::size_t i = 0; i < n; ++i) {
    int place = 0;
    for (std::size_t j = 0; j < i; ++j) place += old_keys[j] <= old_keys[i];
    for (std::size_t j = i + 1; j < n; ++j) place += old_keys[j] < old_keys[i];
    keys[place] = old_keys[i];
    values[place] = old_values[i];
  }
}

}  // namespace ivf::detail

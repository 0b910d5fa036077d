#pragma once
/// \file
/// Sets of ids: what is removed, replaced, or allowed in a search.

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "ivf/types.hpp"

namespace ivf {

/// Ids first .. last, both included.
struct IdRange {
  idx_t first = 0;
  idx_t last = 0;
};

/// A set of ids that does not change. Takes 16 bytes a range of consecutive ids, or a bit for each id between the
/// smallest and the largest where that is less.
class IdSet {
 public:
  /// The empty set.
  IdSet() = default;
  /// The union of ranges, in any order. Throws Error(misuse) when one ends before it begins.
  explicit IdSet(std::vector<IdRange> ranges);
  explicit IdSet(std::span<const idx_t> ids);
  /// Id i for each bit i % 64 of word i / 64 that is set.
  static IdSet of_bits(std::vector<std::uint64_t> bits);

  bool empty() const noexcept { return size_ == 0; }
  /// Number of ids; 2^64 - 1 when they are more.
  std::uint64_t size() const noexcept { return size_; }
  bool contains(idx_t id) const noexcept;

 private:
  void finish();

  std::vector<IdRange> ranges_;      ///< Ascending, with gaps between them; empty when there are bits.
  std::vector<std::uint64_t> bits_;  ///< Of the ids from first_ on.
  idx_t first_ = 0, last_ = -1;      ///< No id lies outside.
  std::uint64_t size_ = 0;
};

}  // namespace ivf

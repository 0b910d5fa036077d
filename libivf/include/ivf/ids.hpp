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

/// A set of ids that does not change. Takes 16 bytes a range of consecutive ids, and a bit for each id between the
/// smallest and the largest where that is no more.
class IdSet {
 public:
  /// The empty set.
  IdSet() = default;
  /// The union of ranges, in any order. Throws Error(misuse) when one ends before it begins.
  explicit IdSet(std::vector<IdRange> ranges);
  explicit IdSet(std::span<const idx_t> ids);

  bool empty() const noexcept { return ranges_.empty(); }
  /// Number of ids; 2^64 - 1 when they are more.
  std::uint64_t size() const noexcept { return size_; }
  bool contains(idx_t id) const noexcept;
  /// Ascending, and apart from each other by at least one id.
  const std::vector<IdRange>& ranges() const noexcept { return ranges_; }
  /// A number that this set and its copies have, and no other set of this process.
  std::uint64_t identity() const noexcept { return identity_; }

 private:
  void finish();

  std::vector<IdRange> ranges_;
  std::vector<std::uint64_t> bits_;  ///< Of the ids from ranges_.front().first on; empty: too far apart.
  std::uint64_t size_ = 0;
  std::uint64_t identity_ = 0;
};

}  // namespace ivf

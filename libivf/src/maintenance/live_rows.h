#pragma once
/// \file
/// The rows of a segment that are not removed, counted.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ivf/format/container.hpp"

namespace ivf::detail {

/// Finds live rows by their number. Takes a bit for each 64 rows besides the set that it reads.
class LiveRows {
 public:
  explicit LiveRows(const format::SegmentView& segment);

  /// Live rows before this one.
  std::uint64_t before(std::uint64_t row) const noexcept;
  /// The live row with so many before it; there is one.
  std::uint64_t find(std::uint64_t number) const noexcept;

 private:
  static constexpr std::uint64_t block_words = 64;
  static constexpr std::uint64_t block_rows = block_words * 64;

  std::span<const std::uint64_t> removed_;
  std::vector<std::uint64_t> before_;  ///< Live rows before each block; empty when none was removed.
};

}  // namespace ivf::detail

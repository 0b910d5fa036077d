#include "maintenance/live_rows.h"

#include <algorithm>
#include <bit>

#include "ivf/format/row_bits.hpp"

namespace ivf::detail {

LiveRows::LiveRows(const format::SegmentView& segment) : removed_(segment.removed) {
  if (removed_.empty()) return;
  before_.reserve(segment.rows / block_rows + 1);
  std::uint64_t live = 0;
  for (std::uint64_t row = 0; row < segment.rows; row += block_rows) {
    const std::uint64_t end = std::min(row + block_rows, segment.rows);
    before_.push_back(live);
    live += end - row - format::count_rows(removed_, row, end);
  }
}

std::uint64_t LiveRows::before(std::uint64_t row) const noexcept {
  if (removed_.empty()) return row;
  if (row == 0) return 0;
  const std::uint64_t block = (row - 1) / block_rows;  // `row` may be one past the last.
  const std::uint64_t first = block * block_rows;
  return before_[block] + (row - first) - format::count_rows(removed_, first, row);
}

std::uint64_t LiveRows::find(std::uint64_t number) const noexcept {
  if (removed_.empty()) return number;
  const auto block =
      static_cast<std::uint64_t>(std::upper_bound(before_.begin(), before_.end(), number) - before_.begin()) - 1;
  std::uint64_t left = number - before_[block];
  for (std::uint64_t word = block * block_words;; ++word) {
    std::uint64_t live = ~removed_[word];
    const auto count = static_cast<std::uint64_t>(std::popcount(live));
    if (left >= count) {
      left -= count;
      continue;
    }
    for (; left > 0; --left) live &= live - 1;
    return word * 64 + static_cast<std::uint64_t>(std::countr_zero(live));
  }
}

}  // namespace ivf::detail

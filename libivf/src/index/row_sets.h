#pragma once
/// \file
/// Sets of rows of a corpus, by their ids.

#include <cstdint>
#include <span>
#include <vector>

#include "index/resources.h"
#include "ivf/format/container.hpp"
#include "ivf/format/row_bits.hpp"
#include "ivf/ids.hpp"

namespace ivf::detail {

/// A set of a segment's rows (ivf/format/row_bits.hpp).
using RowBits = std::vector<std::uint64_t>;

/// Calls run(first, last) for each stretch of the rows [begin, end) that are not in the set.
template <class Run>
void for_rows_outside(std::span<const std::uint64_t> bits, std::uint64_t begin, std::uint64_t end, const Run& run) {
  while (begin < end) {
    if (format::has_row(bits, begin)) {
      ++begin;
      continue;
    }
    std::uint64_t stop = bits.empty() ? end : begin + 1;
    while (stop < end && !format::has_row(bits, stop)) ++stop;
    run(begin, stop);
    begin = stop;
  }
}

/// The rows that were removed before, and those whose ids are in the set (`inside`) or are not.
RowBits hidden_rows(const format::SegmentView& segment, const IdSet& ids, bool inside, unsigned threads);

/// Rows of each list that are still there, over all segments: nlist.
std::vector<std::uint64_t> present_rows(std::span<const format::SegmentView> segments, std::size_t nlist);

/// The smallest number of rows of a list, over all segments, that hold `count` rows which are still there; the list has
/// as many.
std::uint64_t rows_until(std::span<const format::SegmentView> segments, std::size_t list, std::uint64_t count);

}  // namespace ivf::detail

#include "index/row_sets.h"

#include <algorithm>

#include "parallel.h"

namespace ivf::detail {

RowBits hidden_rows(const format::SegmentView& segment, const IdSet& ids, bool inside, unsigned threads) {
  RowBits bits(format::row_words(segment.rows));
  constexpr std::size_t words_at_once = 256;
  parallel_for(threads, bits.size(), words_at_once, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t w = begin; w < end; ++w) {
      std::uint64_t word = segment.removed.empty() ? 0 : segment.removed[w];
      const std::uint64_t first = w * 64, count = std::min<std::uint64_t>(64, segment.rows - first);
      for (std::uint64_t i = 0; i < count; ++i)
        word |= static_cast<std::uint64_t>(ids.contains(segment.ids[first + i]) == inside) << i;
      bits[w] = word;
    }
  });
  return bits;
}

std::vector<std::uint64_t> present_rows(std::span<const format::SegmentView> segments, std::size_t nlist) {
  std::vector<std::uint64_t> rows(nlist);
  for (const auto& segment : segments) {
    for (std::size_t l = 0; l < nlist; ++l) {
      const std::uint64_t begin = segment.offsets[l], end = segment.offsets[l + 1];
      rows[l] += end - begin - format::count_rows(segment.removed, begin, end);
    }
  }
  return rows;
}

std::uint64_t rows_until(std::span<const format::SegmentView> segments, std::size_t list, std::uint64_t count) {
  std::uint64_t rows = 0;
  for (const auto& segment : segments) {
    const std::uint64_t begin = segment.offsets[list], end = segment.offsets[list + 1];
    const std::uint64_t present = end - begin - format::count_rows(segment.removed, begin, end);
    if (present < count) {
      count -= present;
      rows += end - begin;
      continue;
    }
    std::uint64_t row = begin;
    for (; count > 0; ++row) count -= !format::has_row(segment.removed, row);
    return rows + (row - begin);
  }
  return rows;
}

}  // namespace ivf::detail

#pragma once
/// \file
/// Which rows of a corpus are brought to a device, and where they go. No device code.

#include <cstdint>
#include <span>
#include <vector>

#include "backends/gpu/engine.h"

namespace ivf::detail::gpu {

/// Rows [first, last) of a list, counted over the segments without the removed ones.
struct RowRange {
  std::uint64_t first = 0, last = 0;
};

/// The rows of a corpus that were not removed, counted.
class KeptRows {
 public:
  explicit KeptRows(const Corpus& corpus);
  const Corpus& corpus() const noexcept { return *corpus_; }
  std::uint64_t rows() const noexcept { return rows_; }
  std::uint64_t of_list(std::size_t list) const noexcept { return of_list_[list]; }
  std::uint64_t of_list(std::size_t segment, std::size_t list) const noexcept;
  /// The ranges of all lists that make up a part.
  std::vector<RowRange> ranges(const Part& part) const;

 private:
  const Corpus* corpus_;
  std::vector<std::uint64_t> of_list_;
  std::uint64_t rows_ = 0;
};

/// Rows [first, last) of a segment, all in one list. Those that were not removed follow each other from `place` on.
struct Span {
  std::size_t segment, list;
  std::uint64_t first, last;
  std::uint32_t place;
};

/// Where the rows of some ranges go: lists follow each other, each padded to a multiple of 8 places.
struct Layout {
  /// Throws Error(failed) when there are more rows than a device can number.
  Layout(const KeptRows& kept, std::span<const RowRange> ranges);

  std::vector<std::uint32_t> begins, sizes;   ///< First place and rows of each list.
  std::vector<std::uint32_t> whole, skipped;  ///< Rows of each list in the corpus, and of those, rows before the range.
  bool partial = false;                       ///< Some list is not there as a whole.
  std::uint64_t rows = 0;
  std::uint32_t places = 0;  ///< With what pads the lists.
  std::vector<Span> spans;   ///< By segment, then by list.
};

/// Sets of the rows of all segments one behind the other: where that of each segment begins, in words of 64 rows, and,
/// last, how many words there are.
std::vector<std::uint64_t> set_begins(const Corpus& corpus);

/// Rows padded to whole groups.
constexpr std::uint64_t padded_rows(std::uint64_t rows) noexcept { return (rows + 7) / 8 * 8; }

}  // namespace ivf::detail::gpu

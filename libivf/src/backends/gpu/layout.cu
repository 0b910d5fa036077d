// Counting rows that were not removed, and giving them places.

#include "backends/gpu/layout.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "backends/gpu/views.h"
#include "ivf/error.hpp"
#include "ivf/format/row_bits.hpp"

namespace ivf::detail::gpu {
namespace {

static_assert(padded_rows(1) == group_rows);

// Kernels count places, and what a tile may read past the last, in 32 bits.
constexpr std::uint64_t most_places = std::numeric_limits<std::uint32_t>::max() - 65536u;

/// The first row of [begin, end) before which `rank` rows of them are not in the set.
std::uint64_t row_of_rank(std::span<const std::uint64_t> set, std::uint64_t begin, std::uint64_t end,
                          std::uint64_t rank) {
  if (set.empty()) return begin + rank;
  std::uint64_t row = begin;
  while (rank != 0 && row < end) {
    const std::uint64_t next = std::min(end, (row / 64 + 1) * 64);
    const std::uint64_t outside = next - row - format::count_rows(set, row, next);
    if (outside <= rank) {
      rank -= outside;
      row = next;
      continue;
    }
    for (; rank != 0; ++row) rank -= format::has_row(set, row) ? 0 : 1;
  }
  return row;
}

void check_number(std::uint64_t found, const char* what) {
  if (found <= most_places) return;
  throw Error(ErrorKind::failed, "expected at most " + std::to_string(most_places) + " " + what +
                                     " on a device, found " + std::to_string(found) + "; search the index on the CPU");
}

}  // namespace

KeptRows::KeptRows(const Corpus& corpus) : corpus_(&corpus), of_list_(corpus.nlist) {
  for (std::size_t s = 0; s < corpus.segments.size(); ++s) {
    for (std::size_t l = 0; l < corpus.nlist; ++l) of_list_[l] += of_list(s, l);
  }
  rows_ = std::accumulate(of_list_.begin(), of_list_.end(), std::uint64_t{0});
}

std::uint64_t KeptRows::of_list(std::size_t segment, std::size_t list) const noexcept {
  const format::SegmentView& rows = corpus_->segments[segment];
  const std::uint64_t begin = rows.offsets[list], end = rows.offsets[list + 1];
  return end - begin - format::count_rows(rows.removed, begin, end);
}

std::vector<RowRange> KeptRows::ranges(const Part& part) const {
  std::vector<RowRange> ranges(of_list_.size());
  std::uint64_t before = 0;
  for (std::size_t l = 0; l < ranges.size(); ++l) {
    const std::uint64_t end = before + of_list_[l];
    ranges[l] = {std::clamp(part.first_row, before, end) - before, std::clamp(part.last_row, before, end) - before};
    if (ranges[l].last <= ranges[l].first) ranges[l] = {};
    before = end;
  }
  return ranges;
}

Layout::Layout(const KeptRows& kept, std::span<const RowRange> ranges) {
  const Corpus& corpus = kept.corpus();
  const std::size_t nlist = corpus.nlist;
  check_number(set_begins(corpus).back() * 64, "rows");
  std::uint64_t place = 0;
  for (std::size_t l = 0; l < nlist; ++l) {
    const std::uint64_t size = ranges[l].last - ranges[l].first;
    begins.push_back(static_cast<std::uint32_t>(place));
    sizes.push_back(static_cast<std::uint32_t>(size));
    whole.push_back(static_cast<std::uint32_t>(kept.of_list(l)));
    skipped.push_back(static_cast<std::uint32_t>(ranges[l].first));
    partial |= size != kept.of_list(l);
    rows += size;
    place += padded_rows(size);
    check_number(place, "rows, each list rounded up to a multiple of 8,");
  }
  places = static_cast<std::uint32_t>(place);
  std::vector<std::uint64_t> seen(nlist);  // Rows of each list in the segments before.
  for (std::size_t s = 0; s < corpus.segments.size(); ++s) {
    const format::SegmentView& segment = corpus.segments[s];
    for (std::size_t l = 0; l < nlist; ++l) {
      const std::uint64_t here = kept.of_list(s, l), before = seen[l];
      const std::uint64_t first = std::max(ranges[l].first, before), last = std::min(ranges[l].last, before + here);
      seen[l] += here;
      if (first >= last) continue;
      const std::uint64_t begin = segment.offsets[l], end = segment.offsets[l + 1];
      const std::uint64_t first_row = row_of_rank(segment.removed, begin, end, first - before);
      spans.push_back({s, l, first_row, row_of_rank(segment.removed, begin, end, last - before),
                       begins[l] + static_cast<std::uint32_t>(first - ranges[l].first)});
    }
  }
}

std::vector<std::uint64_t> set_begins(const Corpus& corpus) {
  std::vector<std::uint64_t> begins{0};
  for (const format::SegmentView& segment : corpus.segments)
    begins.push_back(begins.back() + format::row_words(segment.rows));
  return begins;
}

}  // namespace ivf::detail::gpu

#include "ivf/ids.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "ivf/error.hpp"
#include "ivf/format/row_bits.hpp"

namespace ivf {
namespace {

/// last - first, which may not fit an idx_t.
std::uint64_t distance(idx_t first, idx_t last) noexcept {
  return static_cast<std::uint64_t>(last) - static_cast<std::uint64_t>(first);
}

}  // namespace

IdSet::IdSet(std::vector<IdRange> ranges) : ranges_(std::move(ranges)) { finish(); }

IdSet::IdSet(std::span<const idx_t> ids) {
  ranges_.reserve(ids.size());
  for (const idx_t id : ids) ranges_.push_back({id, id});
  finish();
}

IdSet IdSet::of_bits(std::vector<std::uint64_t> bits) {
  IdSet set;
  set.bits_ = std::move(bits);
  set.last_ = static_cast<idx_t>(set.bits_.size() * 64) - 1;
  set.size_ = format::count_rows(set.bits_);
  return set;
}

void IdSet::finish() {
  for (const IdRange& range : ranges_) {
    if (range.first <= range.last) continue;
    throw Error(ErrorKind::misuse,
                fmt::format("expected a range of ids that ends where it begins or later, found {} to "
                            "{}; swap them",
                            range.first, range.last));
  }
  std::sort(ranges_.begin(), ranges_.end(), [](const IdRange& a, const IdRange& b) { return a.first < b.first; });
  // Ranges that overlap or touch become one.
  std::size_t kept = 0;
  for (const IdRange& range : ranges_) {
    if (kept > 0 && (range.first <= ranges_[kept - 1].last || range.first - 1 == ranges_[kept - 1].last)) {
      ranges_[kept - 1].last = std::max(ranges_[kept - 1].last, range.last);
    } else {
      ranges_[kept++] = range;
    }
  }
  ranges_.resize(kept);
  if (ranges_.empty()) return;
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  for (const IdRange& range : ranges_) {
    const std::uint64_t more = distance(range.first, range.last);
    size_ = more >= most - size_ ? most : size_ + more + 1;
  }
  first_ = ranges_.front().first;
  last_ = ranges_.back().last;
  // As bits where they are no larger than the ranges: one load a question instead of a search.
  const std::uint64_t words = distance(first_, last_) / 64 + 1;
  if (words > ranges_.size() * (sizeof(IdRange) / sizeof(std::uint64_t))) return;
  bits_.resize(words);
  for (const IdRange& range : ranges_) {
    const std::uint64_t end = distance(first_, range.last);
    for (std::uint64_t bit = distance(first_, range.first); bit <= end; ++bit) format::insert_row(bits_, bit);
  }
  ranges_ = {};
}

bool IdSet::contains(idx_t id) const noexcept {
  if (id < first_ || id > last_) return false;
  if (!bits_.empty()) return format::has_row(bits_, distance(first_, id));
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), id,
                                      [](idx_t value, const IdRange& range) { return value < range.first; });
  return id <= (after - 1)->last;
}

}  // namespace ivf

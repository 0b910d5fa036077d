#include "ivf/ids.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "ivf/error.hpp"

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

void IdSet::finish() {
  static std::atomic<std::uint64_t> last_identity{0};
  identity_ = ++last_identity;
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
  ranges_.shrink_to_fit();
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  for (const IdRange& range : ranges_) {
    const std::uint64_t more = distance(range.first, range.last);
    size_ = more >= most - size_ ? most : size_ + more + 1;
  }
  if (ranges_.empty()) return;
  // As bits where they are no larger than the ranges: one load a question instead of a search.
  const std::uint64_t words = distance(ranges_.front().first, ranges_.back().last) / 64 + 1;
  if (words > ranges_.size() * (sizeof(IdRange) / sizeof(std::uint64_t))) return;
  bits_.resize(words);
  for (const IdRange& range : ranges_) {
    const std::uint64_t end = distance(ranges_.front().first, range.last);
    for (std::uint64_t bit = distance(ranges_.front().first, range.first); bit <= end; ++bit)
      bits_[bit / 64] |= std::uint64_t{1} << (bit % 64);
  }
}

bool IdSet::contains(idx_t id) const noexcept {
  if (ranges_.empty() || id < ranges_.front().first || id > ranges_.back().last) return false;
  if (!bits_.empty()) {
    const std::uint64_t bit = distance(ranges_.front().first, id);
    return (bits_[bit / 64] >> (bit % 64) & 1) != 0;
  }
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), id,
                                      [](idx_t value, const IdRange& range) { return value < range.first; });
  return id <= (after - 1)->last;
}

}  // namespace ivf

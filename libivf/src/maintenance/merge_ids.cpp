#include "maintenance/merge_ids.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "ivf/error.hpp"

namespace ivf::detail {
namespace {

constexpr idx_t largest_id = std::numeric_limits<idx_t>::max();

/// Calls visit(id) for the rows of an index that are there.
template <class Visit>
void for_ids(const SourceIndex& source, const Visit& visit) {
  for (const format::SegmentView& view : source.snapshot->segments()) {
    for_rows_outside(view.removed, 0, view.rows, [&](std::uint64_t first, std::uint64_t last) {
      for (std::uint64_t row = first; row < last; ++row) visit(view.ids[row]);
    });
  }
}

struct IdBounds {
  idx_t smallest = largest_id;
  idx_t largest = std::numeric_limits<idx_t>::min();
  std::uint64_t count = 0;
};

IdBounds bounds_of(const SourceIndex& source) {
  IdBounds bounds;
  for_ids(source, [&](idx_t id) {
    bounds.smallest = std::min(bounds.smallest, id);
    bounds.largest = std::max(bounds.largest, id);
    ++bounds.count;
  });
  return bounds;
}

/// Whether no id lies within the bounds of two indexes.
bool apart(std::vector<IdBounds> bounds) {
  std::erase_if(bounds, [](const IdBounds& each) { return each.count == 0; });
  std::sort(bounds.begin(), bounds.end(), [](const IdBounds& a, const IdBounds& b) { return a.smallest < b.smallest; });
  return std::adjacent_find(bounds.begin(), bounds.end(), [](const IdBounds& a, const IdBounds& b) {
           return a.largest >= b.smallest;
         }) == bounds.end();
}

}  // namespace

std::vector<idx_t> shifted_ids(std::span<const SourceIndex> sources) {
  std::vector<idx_t> offsets;
  idx_t offset = 0;
  for (const SourceIndex& source : sources) {
    offsets.push_back(offset);
    const IdBounds bounds = bounds_of(source);
    if (bounds.count > 0 && bounds.smallest < 0) {
      throw Error(ErrorKind::misuse, fmt::format("{}: expected ids that are not negative to shift them, found {}; keep "
                                                 "the ids instead",
                                                 source.path, bounds.smallest));
    }
    auto next = static_cast<idx_t>(source.snapshot->next_id());
    if (bounds.count > 0) next = std::max(next, bounds.largest == largest_id ? largest_id : bounds.largest + 1);
    if (next > largest_id - offset) {
      throw Error(ErrorKind::misuse, fmt::format("{}: expected ids that end below 2^63 when they are raised by {}, "
                                                 "found that the next one is {}; keep the ids instead",
                                                 source.path, offset, next));
    }
    offset += next;
  }
  offsets.push_back(offset);
  return offsets;
}

void require_unique_ids(std::span<const SourceIndex> sources, const std::string& path, const Resources& resources,
                        const Progress& progress) {
  std::vector<IdBounds> bounds;
  std::uint64_t rows = 0;
  for (const SourceIndex& source : sources) {
    bounds.push_back(bounds_of(source));
    rows += bounds.back().count;
  }
  if (apart(bounds)) return;
  struct Key {
    idx_t id;
    std::uint64_t source;
    bool operator<(const Key& other) const noexcept { return id != other.id ? id < other.id : source < other.source; }
  };
  const ScratchArray<Key> keys(rows, resources.max_memory / 2, path);
  const auto span = keys.span();
  std::uint64_t filled = 0;
  for (std::size_t s = 0; s < sources.size(); ++s) {
    if (progress) progress("comparing ids", filled, rows);
    for_ids(sources[s], [&](idx_t id) { span[filled++] = {id, s}; });
  }
  std::sort(span.begin(), span.end());
  std::uint64_t shared = 0;
  std::size_t first = 0;
  for (std::size_t i = 1; i < span.size(); ++i) {
    if (span[i].id != span[i - 1].id || span[i].source == span[i - 1].source) continue;
    if (shared++ == 0) first = i;
  }
  if (shared == 0) return;
  throw Error(ErrorKind::misuse,
              fmt::format("expected each id in one index, found {} in {} and {}{}; shift the ids of the later ones, or "
                          "keep all rows with the ids that they have",
                          span[first].id, sources[span[first - 1].source].path, sources[span[first].source].path,
                          shared == 1 ? "" : fmt::format(" ({} such rows)", shared)));
}

}  // namespace ivf::detail

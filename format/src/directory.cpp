// Checks of the directory: where sections lie, how large they are, which there must be.

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <utility>

#include "file_state.h"
#include "frames.h"
#include "ivf/error.hpp"
#include "ivf/format/row_bits.hpp"

namespace ivf::format {
namespace {

using Key = std::pair<std::uint64_t, SectionKind>;
using ByKey = std::map<Key, const DirectoryEntry*>;

/// Sections lie one after the other between the head and the directory, each with its padding.
void check_places(const FileState& state, const std::string& path) {
  const std::uint64_t end_of_sections = state.superblock.directory_offset;
  std::uint64_t free_from = kHeadBytes;
  for (const DirectoryEntry& entry : state.entries) {
    if (entry.offset % kAlignment != 0) {
      throw_corrupt(path, describe(entry), "an offset that is a multiple of 64", fmt::format("{}", entry.offset));
    }
    if (entry.offset < free_from) {
      throw_corrupt(path, describe(entry), fmt::format("no overlap with what ends at {}", free_from), "an overlap");
    }
    // No sum before each term is known to be below the directory's offset, which is below 2^63.
    if (entry.offset > end_of_sections || entry.stored_bytes == 0 ||
        entry.stored_bytes > end_of_sections - entry.offset ||
        kTailPadding > end_of_sections - entry.offset - entry.stored_bytes) {
      throw_corrupt(
          path, describe(entry),
          fmt::format("1 or more bytes and {} of padding before the directory at {}", kTailPadding, end_of_sections),
          fmt::format("{} bytes", entry.stored_bytes));
    }
    free_from = entry.offset + entry.stored_bytes + kTailPadding;
  }
}

void check_flags(const DirectoryEntry& entry, const SectionTraits& traits, const std::string& path) {
  if ((entry.flags & ~(kSectionOptional | kSectionCompressed)) != 0) {
    throw_corrupt(path, describe(entry), "no flags but 1 and 2", fmt::format("{:#x}", entry.flags));
  }
  if (entry.reserved != 0) throw_corrupt(path, describe(entry), "reserved bytes of zero", "others");
  if (entry.compressed() && !traits.bulk) {
    throw_corrupt(path, describe(entry), "a section that is stored as it is", "a compressed one");
  }
}

void check_size(const DirectoryEntry& entry, const SectionTraits& traits, std::uint32_t dim, const std::string& path) {
  const std::uint64_t raw_bytes = raw_bytes_of(traits, entry.items, dim);
  if (entry.raw_bytes != raw_bytes) {
    throw_corrupt(path, describe(entry), fmt::format("{} bytes for {} items", raw_bytes, entry.items),
                  fmt::format("{}", entry.raw_bytes));
  }
  if (entry.compressed()) {
    check_frame_sizes(entry, path);
  } else if (entry.stored_bytes != entry.raw_bytes || entry.frame_bytes != 0) {
    throw_corrupt(path, describe(entry), fmt::format("{} stored bytes in one piece", entry.raw_bytes),
                  fmt::format("{} in frames of {}", entry.stored_bytes, entry.frame_bytes));
  }
}

/// The sections by segment and kind, each checked by itself.
ByKey index_entries(const FileState& state, const std::string& path) {
  ByKey by_key;
  for (const DirectoryEntry& entry : state.entries) {
    const SectionTraits* traits = section_traits(entry.kind);
    if (traits == nullptr) {
      if ((entry.flags & kSectionOptional) != 0) continue;
      throw Error(ErrorKind::corrupt,
                  fmt::format("'{}': {}: expected a known kind of section, found {}; it was written "
                              "by a newer ivf, or is damaged: try a newer ivf",
                              path, describe(entry), entry.kind));
    }
    check_flags(entry, *traits, path);
    if (traits->in_segment ? entry.segment >= state.superblock.segments : entry.segment != kNoSegment) {
      throw_corrupt(path, describe(entry),
                    traits->in_segment ? fmt::format("a segment below {}", state.superblock.segments) : "no segment",
                    fmt::format("{}", entry.segment));
    }
    const std::uint64_t max_items = entry.section() == SectionKind::metadata ? kMaxMetadata : kMaxRows;
    if (entry.items == 0 || entry.items > max_items) {
      throw_corrupt(path, describe(entry), fmt::format("1 to {} items", max_items), fmt::format("{}", entry.items));
    }
    check_size(entry, *traits, state.header.dim, path);
    if (!by_key.emplace(Key{entry.segment, entry.section()}, &entry).second) {
      throw_corrupt(path, describe(entry), "one section of this kind", "a second");
    }
  }
  return by_key;
}

enum class Presence { required, optional, forbidden };

void check_presence(const FileState& state, const ByKey& by_key, std::uint64_t segment, SectionKind kind,
                    Presence presence, std::uint64_t items, const std::string& path) {
  const auto found = by_key.find(Key{segment, kind});
  if (found == by_key.end()) {
    if (presence != Presence::required) return;
    const std::string_view name = section_traits(static_cast<std::uint32_t>(kind))->name;
    throw_corrupt(path, fmt::format("directory at offset {}", state.superblock.directory_offset),
                  segment == kNoSegment ? fmt::format("section {}", name)
                                        : fmt::format("section {} of segment {}", name, segment),
                  "none");
  }
  const DirectoryEntry& entry = *found->second;
  if (presence == Presence::forbidden) throw_corrupt(path, describe(entry), "no such section in this index", "one");
  if (entry.items != items) {
    throw_corrupt(path, describe(entry), fmt::format("{} items", items), fmt::format("{}", entry.items));
  }
}

}  // namespace

std::string describe(const DirectoryEntry& entry) {
  const SectionTraits* traits = section_traits(entry.kind);
  std::string text =
      traits != nullptr ? fmt::format("section {}", traits->name) : fmt::format("section of kind {}", entry.kind);
  if (entry.segment != kNoSegment) text += fmt::format(" of segment {}", entry.segment);
  return text + fmt::format(" at offset {}", entry.offset);
}

void check_directory(const FileState& state, const std::string& path) {
  check_places(state, path);
  const ByKey by_key = index_entries(state, path);
  const bool ivf = state.header.kind == static_cast<std::uint32_t>(IndexKind::ivf);
  const bool removals = state.superblock.required_features != 0;
  const Presence in_ivf = ivf ? Presence::required : Presence::forbidden;
  const auto of_file = [&](SectionKind kind, Presence presence) {
    check_presence(state, by_key, kNoSegment, kind, presence, state.header.nlist, path);
  };
  of_file(SectionKind::centroid_hi, in_ivf);
  of_file(SectionKind::centroid_lo, ivf ? Presence::optional : Presence::forbidden);
  of_file(SectionKind::centroid_norms, in_ivf);
  // Every segment has at least three sections, so this loop is bounded by the directory that was read.
  if (state.superblock.segments > state.entries.size()) {
    throw_corrupt(path, fmt::format("directory at offset {}", state.superblock.directory_offset),
                  fmt::format("sections of {} segments", state.superblock.segments),
                  fmt::format("{} sections", state.entries.size()));
  }
  std::uint64_t rows = 0;
  for (std::uint64_t segment = 0; segment < state.superblock.segments; ++segment) {
    const auto ids = by_key.find(Key{segment, SectionKind::ids});
    const std::uint64_t segment_rows = ids == by_key.end() ? 0 : ids->second->items;
    const auto of_segment = [&](SectionKind kind, Presence presence, std::uint64_t items) {
      check_presence(state, by_key, segment, kind, presence, items, path);
    };
    of_segment(SectionKind::list_offsets, Presence::required, state.header.nlist + 1);
    of_segment(SectionKind::ids, Presence::required, segment_rows);
    of_segment(SectionKind::hi, Presence::required, segment_rows);
    of_segment(SectionKind::lo, Presence::optional, segment_rows);
    of_segment(SectionKind::norms, Presence::required, segment_rows);
    of_segment(SectionKind::list_radii, in_ivf, state.header.nlist);
    of_segment(SectionKind::list_residuals, Presence::optional, state.header.nlist);
    of_segment(SectionKind::removed_rows, removals ? Presence::optional : Presence::forbidden, row_words(segment_rows));
    rows += segment_rows;  // At most 2^40 each: no overflow before the loop ends.
    if (rows > kMaxRows) break;
  }
  if (rows != state.superblock.rows || rows > kMaxRows) {
    throw_corrupt(path, fmt::format("directory at offset {}", state.superblock.directory_offset),
                  fmt::format("{} rows (at most 2^40) in all segments, as the superblock says", state.superblock.rows),
                  fmt::format("{}", rows));
  }
}

}  // namespace ivf::format

#include "layout.h"

#include <fmt/format.h>

#include <cstring>

#include "checksum.h"
#include "ivf/error.hpp"

namespace ivf::format {
namespace {

constexpr SectionTraits kSections[] = {
    {SectionKind::metadata, "metadata", false, false, 1, false},
    {SectionKind::centroid_hi, "centroid_hi", false, false, 2, true},
    {SectionKind::centroid_lo, "centroid_lo", false, false, 2, true},
    {SectionKind::centroid_norms, "centroid_norms", false, false, 4, false},
    {SectionKind::list_offsets, "list_offsets", true, false, 8, false},
    {SectionKind::ids, "ids", true, true, 8, false},
    {SectionKind::hi, "hi", true, true, 2, true},
    {SectionKind::lo, "lo", true, true, 2, true},
    {SectionKind::norms, "norms", true, true, 4, false},
    {SectionKind::list_radii, "list_radii", true, false, 4, false},
    {SectionKind::list_residuals, "list_residuals", true, false, 4, false},
    {SectionKind::removed_rows, "removed_rows", true, false, 8, false},
};

/// The checksum is the last member and covers everything before it.
template <typename Struct>
std::uint64_t own_checksum(const Struct& value) noexcept {
  return checksum64(&value, offsetof(Struct, checksum));
}

}  // namespace

const SectionTraits* section_traits(std::uint32_t kind) noexcept {
  for (const SectionTraits& traits : kSections) {
    if (static_cast<std::uint32_t>(traits.kind) == kind) return &traits;
  }
  return nullptr;
}

void seal(FileHeader& header) noexcept { header.checksum = own_checksum(header); }
void seal(Superblock& superblock) noexcept { superblock.checksum = own_checksum(superblock); }
bool checksum_matches(const FileHeader& header) noexcept { return header.checksum == own_checksum(header); }
bool checksum_matches(const Superblock& superblock) noexcept { return superblock.checksum == own_checksum(superblock); }

std::array<std::byte, kPage> slot_page(const Superblock& superblock) noexcept {
  std::array<std::byte, kPage> page = {};
  for (std::size_t copy = 0; copy < kSlotCopies; ++copy) {
    std::memcpy(page.data() + copy * kCopyStride, &superblock, sizeof superblock);
  }
  return page;
}

void throw_corrupt(const std::string& path, const std::string& where, const std::string& expected,
                   const std::string& found) {
  throw Error(
      ErrorKind::corrupt,
      fmt::format("'{}': {}: expected {}, found {}; the file is damaged: restore it from a copy or build it again",
                  path, where, expected, found));
}

}  // namespace ivf::format

#pragma once
/// \file
/// The structures on disk. docs/format.md is the contract; names and offsets here follow it.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "ivf/format/container.hpp"

namespace ivf::format {

static_assert(std::endian::native == std::endian::little,
              "the format is little-endian and mapped as it is; a big-endian reader would have to swap every section");

inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::size_t kPage = 4096;
inline constexpr std::size_t kSlotCount = 2;
inline constexpr std::size_t kSlotCopies = 2;
inline constexpr std::size_t kCopyStride = kPage / kSlotCopies;
/// The header page and the two superblock slots; sections start here.
inline constexpr std::size_t kHeadBytes = kPage * (1 + kSlotCount);
inline constexpr std::size_t kAlignment = 64;
/// Zero bytes after every section, so that vector code may load past its end.
inline constexpr std::size_t kTailPadding = 64;

inline constexpr std::uint32_t kMaxDim = 65536;
inline constexpr std::uint64_t kMaxLists = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kMaxRows = std::uint64_t{1} << 40;
inline constexpr std::uint64_t kMaxMetadata = std::uint64_t{16} << 20;
inline constexpr std::uint32_t kMaxCompressionLevel = 22;
/// The largest id that a row can be given.
inline constexpr std::uint64_t kMaxNextId = (std::uint64_t{1} << 63) - 1;
/// So that there is always a next generation.
inline constexpr std::uint64_t kMaxGeneration = (std::uint64_t{1} << 63) - 1;

/// Raw bytes of a frame of a compressed section: what the writer uses, and what a reader accepts.
inline constexpr std::uint32_t kFrameBytes = std::uint32_t{1} << 20;
inline constexpr std::uint32_t kMinFrameBytes = std::uint32_t{1} << 12;
inline constexpr std::uint32_t kMaxFrameBytes = std::uint32_t{1} << 26;
/// A compressed section is at most this many times larger when decoded, so that a small file cannot ask for much
/// memory.
inline constexpr std::uint64_t kMaxExpansion = 1024;

inline constexpr std::array<unsigned char, 8> kFileMagic = {0x89, 'I', 'V', 'F', '\r', '\n', 0x1a, '\n'};
inline constexpr std::array<unsigned char, 8> kSuperblockMagic = {'I', 'V', 'F', 'S', 'U', 'P', 'E', 'R'};
inline constexpr std::array<unsigned char, 8> kDirectoryMagic = {'I', 'V', 'F', 'D', 'I', 'R', 'E', 'C'};

/// At offset 0; the rest of the page is zero. Never changes after the file was created.
struct FileHeader {
  std::array<unsigned char, 8> magic = kFileMagic;
  std::uint32_t version = kFormatVersion;
  std::uint32_t kind = 0;
  std::uint32_t metric = 0;
  std::uint32_t dim = 0;
  std::uint64_t nlist = 0;
  std::uint64_t seed = 0;
  std::uint32_t compression_level = 0;  ///< 0: bulk sections are stored as they are.
  std::array<unsigned char, 76> reserved = {};
  std::uint64_t checksum = 0;  ///< Of the 120 bytes before.
};
static_assert(sizeof(FileHeader) == 128);

/// Two copies in each slot; the rest of the slot is zero. Generation g lives in slot g mod 2.
struct Superblock {
  std::array<unsigned char, 8> magic = kSuperblockMagic;
  std::uint64_t generation = 0;
  std::uint32_t required_features = 0;         ///< A program that does not know one of them cannot use the file.
  std::uint32_t writer_required_features = 0;  ///< ... cannot append to it, but can read it.
  std::uint32_t optional_features = 0;         ///< ... ignores it.
  std::uint32_t reserved0 = 0;
  std::uint64_t committed_end = 0;
  std::uint64_t directory_offset = 0;
  std::uint64_t directory_bytes = 0;
  std::uint64_t directory_checksum = 0;
  std::uint64_t rows = 0;
  std::uint64_t segments = 0;
  std::uint64_t removed =
      0;  ///< Rows that are marked as removed in all segments. 0 without kFeatureRemovals, as is ...
  std::uint64_t next_id = 0;  ///< ... the id that the next row gets when its writer does not name one.
  std::array<unsigned char, 24> reserved1 = {};
  std::uint64_t checksum = 0;  ///< Of the 120 bytes before.
};
static_assert(sizeof(Superblock) == 128);

/// Required: rows may be removed, and numbering need not go on at the number of rows.
inline constexpr std::uint32_t kFeatureRemovals = 1;

struct DirectoryHeader {
  std::array<unsigned char, 8> magic = kDirectoryMagic;
  std::uint64_t generation = 0;
  std::uint64_t rows = 0;
  std::uint64_t segments = 0;
  std::uint64_t sections = 0;
  std::array<unsigned char, 24> reserved = {};
};
static_assert(sizeof(DirectoryHeader) == 64);

enum class SectionKind : std::uint32_t {
  metadata = 1,
  centroid_hi = 2,
  centroid_lo = 3,
  centroid_norms = 4,
  list_offsets = 16,
  ids = 17,
  hi = 18,
  lo = 19,
  norms = 20,
  list_radii = 21,
  list_residuals = 22,
  removed_rows = 32,
};

inline constexpr std::uint32_t kSectionOptional = 1;    ///< A reader that does not know the kind skips the section.
inline constexpr std::uint32_t kSectionCompressed = 2;  ///< Stored as zstd frames.
inline constexpr std::uint64_t kNoSegment = ~std::uint64_t{0};

struct DirectoryEntry {
  std::uint32_t kind = 0;
  std::uint32_t flags = 0;
  std::uint64_t segment = kNoSegment;
  std::uint64_t offset = 0;
  std::uint64_t stored_bytes = 0;
  std::uint64_t raw_bytes = 0;
  std::uint64_t items = 0;        ///< Rows, lists, list boundaries or bytes: what the kind counts.
  std::uint32_t frame_bytes = 0;  ///< Raw bytes a frame (the last one may be shorter); 0 unless compressed.
  std::uint32_t reserved = 0;
  std::uint64_t checksum = 0;  ///< Section checksum of the stored bytes.

  SectionKind section() const noexcept { return static_cast<SectionKind>(kind); }
  bool compressed() const noexcept { return (flags & kSectionCompressed) != 0; }
};
static_assert(sizeof(DirectoryEntry) == 64);

/// What a reader must know about a kind of section.
struct SectionTraits {
  SectionKind kind;
  std::string_view name;
  bool in_segment;           ///< Belongs to a segment rather than to the file.
  bool bulk;                 ///< May be compressed; its checksum is left to verify_checksums() unless it is.
  std::uint32_t item_bytes;  ///< Bytes an item, or an item and dimension.
  bool times_dim;
};

/// The traits of a kind, or null when this version does not know it.
const SectionTraits* section_traits(std::uint32_t kind) noexcept;

/// Bytes of `items` items, with items <= 2^40 + 1 and dim <= 65536: at most 2^57.
constexpr std::uint64_t raw_bytes_of(const SectionTraits& traits, std::uint64_t items, std::uint32_t dim) noexcept {
  return items * traits.item_bytes * (traits.times_dim ? dim : 1);
}

/// Rounds up to a multiple of kAlignment; `value` comes from a file that exists, so it is far below 2^63.
constexpr std::uint64_t align_up(std::uint64_t value) noexcept { return (value + kAlignment - 1) & ~(kAlignment - 1); }

/// Where the section after one that ends at `end` starts, at least.
constexpr std::uint64_t next_section_offset(std::uint64_t end) noexcept { return align_up(end + kTailPadding); }

/// Sets the checksum of a header or superblock.
void seal(FileHeader& header) noexcept;
void seal(Superblock& superblock) noexcept;
bool checksum_matches(const FileHeader& header) noexcept;
bool checksum_matches(const Superblock& superblock) noexcept;

/// A whole slot as it is written: both copies of the superblock, zeros between and after.
std::array<std::byte, kPage> slot_page(const Superblock& superblock) noexcept;
constexpr std::uint64_t slot_offset(std::uint64_t generation) noexcept { return kPage * (1 + generation % kSlotCount); }

/// Throws Error(corrupt): "'PATH': WHERE: expected X, found Y; REMEDY".
[[noreturn]] void throw_corrupt(const std::string& path, const std::string& where, const std::string& expected,
                                const std::string& found);

}  // namespace ivf::format

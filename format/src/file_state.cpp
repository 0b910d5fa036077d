#include "file_state.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "checksum.h"
#include "file_ops.h"
#include "ivf/error.hpp"

namespace ivf::format {
namespace {

using Head = std::array<std::byte, kHeadBytes>;

bool all_zero(const std::byte* bytes, std::size_t size) noexcept {
  return std::all_of(bytes, bytes + size, [](std::byte value) { return value == std::byte{0}; });
}

template <std::size_t N>
bool all_zero(const std::array<unsigned char, N>& bytes) noexcept {
  return std::all_of(bytes.begin(), bytes.end(), [](unsigned char value) { return value == 0; });
}

[[noreturn]] void throw_newer(const std::string& path, const std::string& what) {
  throw Error(ErrorKind::corrupt,
              fmt::format("'{}': {}; it was written by a newer ivf, or is damaged: try a newer ivf", path, what));
}

void read_head(int fd, const std::string& path, Head& head) {
  const std::size_t size = pread_fully(fd, head.data(), head.size(), 0, path);
  if (size < kFileMagic.size() || std::memcmp(head.data(), kFileMagic.data(), kFileMagic.size()) != 0) {
    throw Error(ErrorKind::corrupt, fmt::format("'{}': offset 0: expected the magic number of an ivf index, found "
                                                "something else; name a file that `ivf train` made",
                                                path));
  }
  if (size < head.size()) {
    throw_corrupt(path, "length", fmt::format("at least {} bytes", head.size()), fmt::format("{}", size));
  }
}

FileHeader check_header(const Head& head, const std::string& path) {
  FileHeader header;
  std::memcpy(&header, head.data(), sizeof header);
  // The version first: a later one may have moved the checksum.
  if (header.version == 0 || header.version > kFormatVersion) {
    throw_newer(path,
                fmt::format("offset 8: expected format version 1 to {}, found {}", kFormatVersion, header.version));
  }
  const std::string where = "file header at offset 0";
  if (!checksum_matches(header)) throw_corrupt(path, where, "a matching checksum", "another");
  if (!all_zero(header.reserved) || !all_zero(head.data() + sizeof header, kPage - sizeof header)) {
    throw_corrupt(path, where, "reserved bytes of zero", "others");
  }
  const bool flat = header.kind == static_cast<std::uint32_t>(IndexKind::flat);
  if (!flat && header.kind != static_cast<std::uint32_t>(IndexKind::ivf)) {
    throw_corrupt(path, where, "index kind 1 or 2", fmt::format("{}", header.kind));
  }
  if (header.metric > static_cast<std::uint32_t>(Metric::cosine)) {
    throw_corrupt(path, where, "metric 0 to 2", fmt::format("{}", header.metric));
  }
  if (header.dim == 0 || header.dim > kMaxDim) {
    throw_corrupt(path, where, fmt::format("a dimension of 1 to {}", kMaxDim), fmt::format("{}", header.dim));
  }
  const std::uint64_t max_lists = flat ? 1 : kMaxLists;
  if (header.nlist == 0 || header.nlist > max_lists) {
    throw_corrupt(path, where, fmt::format("1 to {} lists", max_lists), fmt::format("{}", header.nlist));
  }
  if (header.compression_level > kMaxCompressionLevel) {
    throw_corrupt(path, where, fmt::format("a compression level of 0 to {}", kMaxCompressionLevel),
                  fmt::format("{}", header.compression_level));
  }
  return header;
}

/// The superblock at an offset, unless it is torn (being written, or cut off by a crash), damaged or was never written.
std::optional<Superblock> superblock_at(const Head& head, std::size_t offset, const std::string& path) {
  Superblock candidate;
  std::memcpy(&candidate, head.data() + offset, sizeof candidate);
  if (candidate.magic != kSuperblockMagic || !checksum_matches(candidate)) return std::nullopt;
  // What has a right checksum is believed, and must then be right.
  if (candidate.generation == 0 || slot_offset(candidate.generation) != offset - offset % kPage) {
    throw_corrupt(path, fmt::format("superblock at offset {}", offset), "a generation that belongs to this slot",
                  fmt::format("{}", candidate.generation));
  }
  if (candidate.generation > kMaxGeneration) {
    throw_corrupt(path, fmt::format("superblock at offset {}", offset), "a generation of at most 2^63 - 1",
                  fmt::format("{}", candidate.generation));
  }
  return candidate;
}

/// The newest superblock of both slots.
std::optional<Superblock> newest_superblock(const Head& head, const std::string& path) {
  std::optional<Superblock> newest;
  for (std::size_t slot = kPage; slot < kHeadBytes; slot += kPage) {
    for (std::size_t copy = slot; copy < slot + kPage; copy += kCopyStride) {
      const auto candidate = superblock_at(head, copy, path);
      if (!candidate) continue;
      if (newest && candidate->generation == newest->generation && candidate->checksum != newest->checksum) {
        throw_corrupt(path, fmt::format("superblock at offset {}", copy), "the same bytes as in its other copy",
                      "others");
      }
      if (!newest || candidate->generation > newest->generation) newest = candidate;
    }
  }
  return newest;
}

/// Outside its copies a slot is zero, also while it is being written.
void check_slots(const Head& head, const std::string& path) {
  for (std::size_t copy = kPage; copy < kHeadBytes; copy += kCopyStride) {
    if (!all_zero(head.data() + copy + sizeof(Superblock), kCopyStride - sizeof(Superblock))) {
      throw_corrupt(path, fmt::format("superblock slot at offset {}", copy), "reserved bytes of zero", "others");
    }
  }
}

Superblock read_superblock(int fd, const std::string& path, Head& head) {
  constexpr int kAttempts = 16;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (const auto superblock = newest_superblock(head, path)) return *superblock;
    // Only one slot is ever being written, but between reading the one and the other a writer may have moved on. Only
    // when the bytes stay the same is there really no superblock.
    const Head before = head;
    read_head(fd, path, head);
    if (before == head) break;
  }
  throw_corrupt(path, "superblocks at offsets 4096 and 8192", "at least one with a matching checksum", "none");
}

void check_superblock(const Superblock& superblock, std::uint64_t file_bytes, const std::string& path) {
  const std::string where = fmt::format("superblock of generation {}", superblock.generation);
  if ((superblock.required_features & ~kFeatureRemovals) != 0) {
    throw_newer(path, fmt::format("{}: expected no required features but {:#x}, found {:#x}", where, kFeatureRemovals,
                                  superblock.required_features));
  }
  const bool removals = superblock.required_features != 0;
  if (removals ? superblock.removed > superblock.rows || superblock.next_id < superblock.rows ||
                     superblock.next_id > kMaxNextId
               : (superblock.removed | superblock.next_id) != 0) {
    throw_corrupt(path, where,
                  removals ? "at most as many removed rows as rows, and a next id from their number to 2^63 - 1"
                           : "no removed rows and no next id without the feature",
                  fmt::format("{} removed of {}, next id {}", superblock.removed, superblock.rows, superblock.next_id));
  }
  if (superblock.reserved0 != 0 || !all_zero(superblock.reserved1)) {
    throw_corrupt(path, where, "reserved bytes of zero", "others");
  }
  if (superblock.committed_end > file_bytes) {
    throw_corrupt(path, where, fmt::format("a file of at least {} bytes", superblock.committed_end),
                  fmt::format("{}", file_bytes));
  }
  // committed_end <= file_bytes < 2^63 from here on.
  if (superblock.directory_offset < kHeadBytes || superblock.directory_offset % kAlignment != 0 ||
      superblock.directory_offset > superblock.committed_end ||
      superblock.directory_bytes != superblock.committed_end - superblock.directory_offset) {
    throw_corrupt(path, where, fmt::format("a directory that ends at {}", superblock.committed_end),
                  fmt::format("{} bytes at offset {}", superblock.directory_bytes, superblock.directory_offset));
  }
  if (superblock.directory_bytes < sizeof(DirectoryHeader) ||
      superblock.directory_bytes % sizeof(DirectoryEntry) != 0) {
    throw_corrupt(path, where, "a directory of a positive multiple of 64 bytes",
                  fmt::format("{}", superblock.directory_bytes));
  }
}

void read_directory(int fd, const std::string& path, FileState& state) {
  const Superblock& superblock = state.superblock;
  const std::string where = fmt::format("directory at offset {}", superblock.directory_offset);
  state.directory.resize(superblock.directory_bytes);
  if (pread_fully(fd, state.directory.data(), state.directory.size(), superblock.directory_offset, path) !=
      state.directory.size()) {
    throw_corrupt(path, where, fmt::format("{} bytes", state.directory.size()), "fewer: the file became shorter");
  }
  if (checksum64(state.directory.data(), state.directory.size()) != superblock.directory_checksum) {
    throw_corrupt(path, where, "a matching checksum", "another");
  }
  DirectoryHeader header;
  std::memcpy(&header, state.directory.data(), sizeof header);
  if (header.magic != kDirectoryMagic) throw_corrupt(path, where, "the directory's magic number", "another");
  if (!all_zero(header.reserved)) throw_corrupt(path, where, "reserved bytes of zero", "others");
  const auto reconcile = [&](const char* what, std::uint64_t expected, std::uint64_t found) {
    if (expected != found) {
      throw_corrupt(path, where, fmt::format("{} {} as the superblock says", what, expected), fmt::format("{}", found));
    }
  };
  reconcile("generation", superblock.generation, header.generation);
  reconcile("rows", superblock.rows, header.rows);
  reconcile("segments", superblock.segments, header.segments);
  reconcile("sections", superblock.directory_bytes / sizeof(DirectoryEntry) - 1, header.sections);
  state.entries.resize(header.sections);
  std::memcpy(state.entries.data(), state.directory.data() + sizeof header,
              state.entries.size() * sizeof(DirectoryEntry));
}

}  // namespace

std::uint64_t next_id_of(const Superblock& superblock) noexcept {
  return (superblock.required_features & kFeatureRemovals) != 0 ? superblock.next_id : superblock.rows;
}

FileState read_file_state(int fd, const std::string& path) {
  FileState state;
  Head head;
  read_head(fd, path, head);
  state.header = check_header(head, path);
  state.superblock = read_superblock(fd, path, head);
  check_slots(head, path);
  // The length only now: a writer extends the file before it writes the superblock that needs the extension.
  struct stat status = {};
  if (::fstat(fd, &status) != 0) throw_errno("examine", path, errno);
  check_superblock(state.superblock, static_cast<std::uint64_t>(status.st_size), path);
  read_directory(fd, path, state);
  check_directory(state, path);
  return state;
}

}  // namespace ivf::format

#pragma once
// An index file in memory whose structures can be damaged on purpose, with the checksums above the damage repaired.

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "layout.h"

namespace ivf::test {

/// Up to where the checksums are made right again after a change.
enum class Repair {
  nothing,
  header,      ///< Of the file header.
  superblock,  ///< Of the current superblock; its second copy becomes like its first.
  directory,   ///< Of the directory, and the superblock.
  sections,    ///< Of every section that lies in the file, and the directory, and the superblock.
};

class IndexImage {
 public:
  explicit IndexImage(const std::string& path);

  format::FileHeader& header() { return at<format::FileHeader>(0); }
  /// First copy of the current superblock.
  format::Superblock& superblock() { return at<format::Superblock>(superblock_); }
  std::size_t superblock_offset() const noexcept { return superblock_; }
  format::DirectoryHeader& directory() { return at<format::DirectoryHeader>(directory_); }
  std::span<format::DirectoryEntry> entries();
  format::DirectoryEntry& entry(format::SectionKind kind, std::uint64_t segment = 0);
  /// The stored bytes of a section, as values of a type.
  template <typename T>
  std::span<T> section(format::SectionKind kind, std::uint64_t segment = 0) {
    const format::DirectoryEntry& found = entry(kind, segment);
    return {&at<T>(found.offset), found.stored_bytes / sizeof(T)};
  }
  std::vector<std::byte>& bytes() noexcept { return bytes_; }

  /// The offsets of the directory and the superblock are those of the undamaged file.
  void repair(Repair what);
  void write(const std::string& path) const;

 private:
  template <typename T>
  T& at(std::size_t offset) {
    return *reinterpret_cast<T*>(bytes_.data() + offset);
  }

  std::vector<std::byte> bytes_;
  std::size_t superblock_ = 0;
  std::size_t directory_ = 0;
  std::size_t entry_count_ = 0;
};

}  // namespace ivf::test

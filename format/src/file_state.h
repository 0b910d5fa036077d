#pragma once
/// \file
/// What is committed in an index file: header, current superblock and directory, read and checked. The reader and the
/// appending writer both start from it.

#include <string>
#include <vector>

#include "layout.h"

namespace ivf::format {

struct FileState {
  FileHeader header;
  Superblock superblock;
  std::vector<DirectoryEntry> entries;  ///< In the order of their offsets.
  std::vector<std::byte> directory;     ///< As stored, for the hash.

  std::uint64_t nlist() const noexcept { return header.nlist; }
};

/// Reads the newest committed state. Everything is checked that needs no section: feature flags, counts, and that the
/// sections that must exist do so once, have the right size, lie inside the file and do not overlap.
/// Throws Error(corrupt).
FileState read_file_state(int fd, const std::string& path);

/// Checks the entries against the header and against each other (directory.cpp).
void check_directory(const FileState& state, const std::string& path);

/// The id of the next row that gets a number as its id.
std::uint64_t next_id_of(const Superblock& superblock) noexcept;

/// "section hi of segment 3 at offset 8192".
std::string describe(const DirectoryEntry& entry);

}  // namespace ivf::format

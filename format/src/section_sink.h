#pragma once
/// \file
/// Writes sections one after the other to a file and returns their directory entries.

#include <cstdint>
#include <string>

#include "file_ops.h"
#include "layout.h"
#include "raw_bytes.h"

namespace ivf::format {

struct SectionOptions {
  int compression_level = 0;  ///< 0: store as it is.
  unsigned threads = 1;
};

class SectionSink {
 public:
  /// Sections go to `offset` and after it, which is a multiple of 64.
  SectionSink(FileOps& ops, int fd, const std::string& path, std::uint64_t offset, SectionOptions options)
      : ops_(ops), fd_(fd), path_(path), end_(offset), options_(options) {}

  /// Where the next section would start.
  std::uint64_t end() const noexcept { return end_; }

  /// Writes a section and its padding; entry.kind, segment and items are the caller's, the rest is filled in.
  DirectoryEntry write(SectionKind kind, std::uint64_t segment, std::uint64_t items, const RawBytes& raw);

 private:
  void write_plain(DirectoryEntry& entry, const RawBytes& raw);
  bool write_compressed(DirectoryEntry& entry, const RawBytes& raw);

  FileOps& ops_;
  int fd_;
  const std::string& path_;
  std::uint64_t end_;
  SectionOptions options_;
};

}  // namespace ivf::format

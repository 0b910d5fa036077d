#pragma once
/// \file
/// Outputs that appear whole or not at all.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace ivf::format {

/// A new file, written under a temporary name beside its destination. commit() makes it durable (fsync), renames it
/// over the destination and syncs the directory; destruction without commit() removes it.
///
/// A replaced file's mode is kept; a new file obeys the umask. Every member throws Error(failed) that names the path
/// and the system's reason (disk full, permission denied, ...).
class OutputFile {
 public:
  explicit OutputFile(std::string path);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  /// Appends at the end (buffered).
  void write(const void* data, std::size_t size);
  /// Writes at an offset that may lie anywhere; flushes the buffer first.
  void write_at(std::uint64_t offset, const void* data, std::size_t size);
  /// Number of bytes appended so far.
  std::uint64_t size() const noexcept { return size_; }
  /// The temporary path, for libraries that open files by name (HDF5); their writes count once they are closed.
  const std::string& temporary_path() const noexcept { return temporary_; }
  const std::string& path() const noexcept { return path_; }
  void commit();

 private:
  void flush();

  std::string path_;
  std::string temporary_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::string buffer_;
  bool committed_ = false;
};

}  // namespace ivf::format

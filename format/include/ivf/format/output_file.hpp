#pragma once
/// \file
/// Outputs that appear whole or not at all.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace ivf::format {

class FileOps;
class NewFile;

/// A new file, written under a temporary name beside its destination. commit() makes it durable (fsync), renames it
/// over the destination and syncs the directory; destruction without commit() removes it.
///
/// A replaced file's mode is kept; a new file obeys the umask; a symbolic link stays one and its target is replaced.
/// Devices, FIFOs and open descriptors (/dev/null, /dev/stdout, process substitutions) are not replaced but written,
/// and what was written before a failure has been seen. Every member throws Error(failed) that names the path and the
/// system's reason (disk full, permission denied, ...); after that the file cannot be committed any more.
class OutputFile {
 public:
  explicit OutputFile(std::string path);
  /// With other system calls, for tests of faults. `ops` outlives the file.
  OutputFile(std::string path, FileOps& ops);
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
  const std::string& temporary_path() const noexcept;
  const std::string& path() const noexcept { return path_; }
  void commit();

 private:
  void flush();
  void check_usable() const;

  FileOps& ops_;
  std::string path_;
  std::unique_ptr<NewFile> file_;  ///< Null when the destination is a device, a FIFO or a descriptor.
  int device_ = -1;                ///< The destination itself when it is one.
  std::uint64_t size_ = 0;
  std::string buffer_;
  bool failed_ = false;
  bool committed_ = false;
};

}  // namespace ivf::format

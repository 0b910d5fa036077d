#pragma once
/// \file
/// The system calls by which files change. Everything that this room writes goes through a FileOps, so that tests can
/// inject faults and record what would reach the disk.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ivf::format {

/// Thin wrappers with the semantics of the system calls: -1 and errno on failure. Tests override them.
class FileOps {
 public:
  virtual ~FileOps() = default;
  virtual int open(const char* path, int flags, mode_t mode);
  virtual ssize_t write(int fd, const void* data, std::size_t size);
  virtual ssize_t pwrite(int fd, const void* data, std::size_t size, off_t offset);
  virtual int fsync(int fd);
  virtual int ftruncate(int fd, off_t size);
  virtual int fchmod(int fd, mode_t mode);
  virtual int rename(const char* from, const char* to);
  /// Like rename, but fails with EEXIST when `to` exists. EINVAL or ENOSYS: the file system cannot promise that.
  virtual int rename_noreplace(const char* from, const char* to);
  virtual int unlink(const char* path);
  virtual int close(int fd);

  /// The system's own.
  static FileOps& system();
};

/// Text of an errno value, e.g. "No space left on device".
std::string errno_text(int error);

/// Throws Error(failed): "cannot ACTION 'PATH': REASON".
[[noreturn]] void throw_errno(std::string_view action, const std::string& path, int error);

/// Writes everything, however the kernel splits or interrupts it.
void pwrite_fully(FileOps& ops, int fd, const void* data, std::size_t size, std::uint64_t offset,
                  const std::string& path);
void write_fully(FileOps& ops, int fd, const void* data, std::size_t size, const std::string& path);

/// Throws when the data may not have reached the disk. Never retried: after a failed fsync the kernel may have dropped
/// the dirty pages, and a second call would report success for data that are lost.
void fsync_or_throw(FileOps& ops, int fd, const std::string& path);
void ftruncate_or_throw(FileOps& ops, int fd, std::uint64_t size, const std::string& path);

/// Reads exactly `size` bytes unless the file ends before; returns the number read.
std::size_t pread_fully(int fd, void* data, std::size_t size, std::uint64_t offset, const std::string& path);

/// A file descriptor that closes itself.
class UniqueFd {
 public:
  UniqueFd() = default;
  UniqueFd(FileOps& ops, int fd) noexcept : ops_(&ops), fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept;
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd() { reset(); }

  int get() const noexcept { return fd_; }
  bool valid() const noexcept { return fd_ >= 0; }
  void reset() noexcept;
  /// Closes and reports what close() reports: on network file systems that is where a write may fail.
  void close_or_throw(const std::string& path);

 private:
  FileOps* ops_ = nullptr;
  int fd_ = -1;
};

/// The directory of a file, to be made durable after a rename in it. Opened before, so that afterwards nothing can fail
/// but the fsync itself.
class DirectoryOf {
 public:
  DirectoryOf(FileOps& ops, const std::string& path);
  void fsync();

 private:
  FileOps& ops_;
  std::string path_;
  UniqueFd fd_;
};

/// Opens a regular file for reading; anything else (directory, FIFO, device) is refused without blocking.
UniqueFd open_for_reading(const std::string& path);

}  // namespace ivf::format

#pragma once
// System calls that fail on purpose, or that remember what they did.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "file_ops.h"

namespace ivf::test {

enum class Call { open, write, pwrite, fsync, ftruncate, fchmod, rename, unlink, close };

inline const char* name(Call call) {
  static constexpr const char* kNames[] = {"open",   "write",  "pwrite", "fsync", "ftruncate",
                                           "fchmod", "rename", "unlink", "close"};
  return kNames[static_cast<int>(call)];
}

/// Counts calls, lets one of them fail, and can split or interrupt every write.
class FaultyOps : public format::FileOps {
 public:
  Call faulty = Call::pwrite;
  int fail_at = -1;  ///< The number of the call (of its kind) that fails; -1: none.
  int error = EIO;
  bool fail_forever = false;                                        ///< And all later ones, as on a full disk.
  std::size_t max_bytes = std::numeric_limits<std::size_t>::max();  ///< A write transfers no more than this.
  bool interrupt = false;            ///< Every other write and ftruncate ends with EINTR.
  std::function<void()> after_open;  ///< Called after a file was opened.

  bool triggered() const noexcept { return triggered_; }
  int calls(Call call) const noexcept { return counts_[static_cast<std::size_t>(call)]; }

  int open(const char* path, int flags, mode_t mode) override {
    if (fails(Call::open)) return -1;
    const int fd = FileOps::open(path, flags, mode);
    if (fd >= 0 && after_open) after_open();
    return fd;
  }
  ssize_t write(int fd, const void* data, std::size_t size) override {
    if (interrupted() || fails(Call::write)) return -1;
    return FileOps::write(fd, data, std::min(size, max_bytes));
  }
  ssize_t pwrite(int fd, const void* data, std::size_t size, off_t offset) override {
    if (interrupted() || fails(Call::pwrite)) return -1;
    return FileOps::pwrite(fd, data, std::min(size, max_bytes), offset);
  }
  int fsync(int fd) override { return fails(Call::fsync) ? -1 : FileOps::fsync(fd); }
  int ftruncate(int fd, off_t size) override {
    return interrupted() || fails(Call::ftruncate) ? -1 : FileOps::ftruncate(fd, size);
  }
  int fchmod(int fd, mode_t mode) override { return fails(Call::fchmod) ? -1 : FileOps::fchmod(fd, mode); }
  int rename(const char* from, const char* to) override { return fails(Call::rename) ? -1 : FileOps::rename(from, to); }
  int rename_noreplace(const char* from, const char* to) override {
    return fails(Call::rename) ? -1 : FileOps::rename_noreplace(from, to);
  }
  int unlink(const char* path) override { return fails(Call::unlink) ? -1 : FileOps::unlink(path); }
  int close(int fd) override {
    const bool fail = fails(Call::close);
    const int result = FileOps::close(fd);  // The descriptor is gone in any case, as on Linux.
    if (fail) errno = error;
    return fail ? -1 : result;
  }

 private:
  bool fails(Call call) {
    const int number = counts_[static_cast<std::size_t>(call)]++;
    if (call != faulty || fail_at < 0 || (fail_forever ? number < fail_at : number != fail_at)) return false;
    triggered_ = true;
    errno = error;
    return true;
  }
  bool interrupted() {
    if (!interrupt || (interruptions_++ % 2) != 0) return false;
    errno = EINTR;
    return true;
  }

  int counts_[9] = {};
  int interruptions_ = 0;
  bool triggered_ = false;
};

/// Something that changes the disk, in the order in which it was asked for.
struct Step {
  Call call = Call::pwrite;
  std::uint64_t offset = 0;  ///< Of a pwrite; the new size of an ftruncate.
  std::string data;          ///< Of a pwrite.
};

/// Remembers the steps of a writer that works on a single file.
class RecordingOps : public format::FileOps {
 public:
  std::vector<Step> steps;

  ssize_t pwrite(int fd, const void* data, std::size_t size, off_t offset) override {
    const ssize_t n = FileOps::pwrite(fd, data, size, offset);
    if (n > 0) {
      steps.push_back({Call::pwrite, static_cast<std::uint64_t>(offset),
                       std::string(static_cast<const char*>(data), static_cast<std::size_t>(n))});
    }
    return n;
  }
  int fsync(int fd) override { return remember(Call::fsync, 0, FileOps::fsync(fd)); }
  int ftruncate(int fd, off_t size) override {
    return remember(Call::ftruncate, static_cast<std::uint64_t>(size), FileOps::ftruncate(fd, size));
  }
  int rename(const char* from, const char* to) override { return remember(Call::rename, 0, FileOps::rename(from, to)); }
  int rename_noreplace(const char* from, const char* to) override {
    return remember(Call::rename, 0, FileOps::rename_noreplace(from, to));
  }

 private:
  int remember(Call call, std::uint64_t offset, int result) {
    if (result == 0) steps.push_back({call, offset, {}});
    return result;
  }
};

}  // namespace ivf::test

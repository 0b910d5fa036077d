#include "bench/append.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "ivf/error.hpp"

namespace ivf::bench {
namespace {

[[noreturn]] void fail(const std::string& path, const char* what, int error) {
  throw Error(ErrorKind::failed, fmt::format("cannot {} '{}': {}", what, path, std::strerror(error)));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// Readable too, to see how the file ends; what may only be written (a pipe) is appended to as well.
int open_to_append(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd >= 0 || errno == EISDIR) return fd;
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

void lock(int fd, const std::string& path) {
  while (::flock(fd, LOCK_EX) != 0) {
    if (errno != EINTR) fail(path, "lock", errno);
  }
}

/// Whether the file ends in the middle of a line.
bool unfinished(int fd, off_t size) {
  char last = '\n';
  return size > 0 && ::pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

/// 0, or the error.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return 0;
}

}  // namespace

void check_appendable(const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0) {
    struct stat info {};
    if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) fail(path, "write to", EISDIR);
    if (::access(path.c_str(), W_OK) != 0) fail(path, "write to", errno);
    return;
  }
  const std::string directory = std::filesystem::path(path).parent_path().string();
  if (::access(directory.empty() ? "." : directory.c_str(), W_OK) != 0) fail(path, "create", errno);
}

void append_lines(const std::string& path, std::string_view lines) {
  Descriptor file(open_to_append(path));
  if (file.get() < 0) fail(path, "open", errno);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail(path, "open", errno);
  const bool regular = S_ISREG(info.st_mode);
  if (regular) {
    lock(file.get(), path);
    // The size may have grown while waiting for the lock.
    if (::fstat(file.get(), &info) != 0) fail(path, "open", errno);
  }
  std::string text = regular && unfinished(file.get(), info.st_size) ? "\n" : "";
  text += lines;
  int error = write_all(file.get(), text);
  if (error == 0 && regular && ::fsync(file.get()) != 0) error = errno;
  if (error != 0 && regular && ::ftruncate(file.get(), info.st_size) != 0) {
    throw Error(ErrorKind::failed, fmt::format("cannot append to '{}': {}; what was written of it could not be removed",
                                               path, std::strerror(error)));
  }
  if (error != 0) fail(path, "append to", error);
  if (::close(file.release()) != 0) fail(path, "append to", errno);
}

}  // namespace ivf::bench

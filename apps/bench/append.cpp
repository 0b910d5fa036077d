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
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// What lines are appended to: a file whose lock is held, or a pipe.
struct Target {
  Descriptor file{-1};
  bool regular = false;
  bool created = false;  ///< It was not there before, and nobody else has written to it since.
  off_t size = 0;
};

/// Readable too, to see how the file ends; what may only be written is appended to as well.
int open_to_append(const std::string& path, bool& created) {
  constexpr int kFlags = O_APPEND | O_CLOEXEC;
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | kFlags, 0666);
  created = fd >= 0;
  if (fd >= 0 || errno != EEXIST) return fd;
  // O_CREAT again: for a link to a file that is not there yet.
  fd = ::open(path.c_str(), O_RDWR | O_CREAT | kFlags, 0666);
  return fd >= 0 || errno != EACCES ? fd : ::open(path.c_str(), O_WRONLY | kFlags, 0);
}

void lock(int fd, const std::string& path) {
  while (::flock(fd, LOCK_EX) != 0) {
    if (errno != EINTR) fail(path, "lock", errno);
  }
}

Target open_target(const std::string& path) {
  for (;;) {
    Target target;
    target.file = Descriptor(open_to_append(path, target.created));
    if (target.file.get() < 0) fail(path, "open", errno);
    struct stat info {};
    if (::fstat(target.file.get(), &info) != 0) fail(path, "open", errno);
    target.regular = S_ISREG(info.st_mode);
    if (!target.regular) return target;
    lock(target.file.get(), path);
    // While this waited, the file may have grown, or whoever had made it may have failed and removed it.
    if (::fstat(target.file.get(), &info) != 0) fail(path, "open", errno);
    if (info.st_nlink == 0) continue;
    target.size = info.st_size;
    target.created = target.created && info.st_size == 0;
    return target;
  }
}

/// Whether the file ends in the middle of a line, or may: what cannot be read could.
bool unfinished(int fd, off_t size) {
  char last = '\0';
  return size > 0 && (::pread(fd, &last, 1, size - 1) != 1 || last != '\n');
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

/// Makes the name of a new file durable. 0, or the error.
int fsync_directory_of(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path().string();
  const Descriptor fd(::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot sync a directory and say EINVAL.
  return fd.get() >= 0 && (::fsync(fd.get()) == 0 || errno == EINVAL) ? 0 : errno;
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
  Target target = open_target(path);
  const int fd = target.file.get();
  std::string text = target.regular && unfinished(fd, target.size) ? "\n" : "";
  text += lines;
  int error = write_all(fd, text);
  if (error == 0 && target.regular && ::fsync(fd) != 0) error = errno;
  if (error == 0 && target.created) error = fsync_directory_of(path);
  if (error != 0 && target.regular) {
    // Removed while the lock is held: who waits for it sees that the file has no name any more.
    const int undone = target.created ? ::unlink(path.c_str()) : ::ftruncate(fd, target.size);
    if (undone != 0) {
      throw Error(ErrorKind::failed,
                  fmt::format("cannot append to '{}': {}; what was written of it could not be removed", path,
                              std::strerror(error)));
    }
  }
  if (error != 0) fail(path, "append to", error);
  if (::close(target.file.release()) != 0) fail(path, "append to", errno);
}

}  // namespace ivf::bench

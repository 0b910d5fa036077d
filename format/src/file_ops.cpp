#include "file_ops.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "ivf/error.hpp"

namespace ivf::format {

int FileOps::open(const char* path, int flags, mode_t mode) { return ::open(path, flags, mode); }
ssize_t FileOps::write(int fd, const void* data, std::size_t size) { return ::write(fd, data, size); }
ssize_t FileOps::pwrite(int fd, const void* data, std::size_t size, off_t offset) {
  return ::pwrite(fd, data, size, offset);
}
int FileOps::fsync(int fd) { return ::fsync(fd); }
int FileOps::ftruncate(int fd, off_t size) { return ::ftruncate(fd, size); }
int FileOps::fchmod(int fd, mode_t mode) { return ::fchmod(fd, mode); }
int FileOps::rename(const char* from, const char* to) { return ::rename(from, to); }
int FileOps::rename_noreplace(const char* from, const char* to) {
  return ::renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
}
int FileOps::unlink(const char* path) { return ::unlink(path); }
int FileOps::close(int fd) { return ::close(fd); }

FileOps& FileOps::system() {
  static FileOps ops;  // Stateless.
  return ops;
}

std::string errno_text(int error) { return std::generic_category().message(error); }

void throw_errno(std::string_view action, const std::string& path, int error) {
  throw Error(ErrorKind::failed, fmt::format("cannot {} '{}': {}", action, path, errno_text(error)));
}

namespace {

/// Calls once(data, size, done) until everything is written.
template <typename Once>
void write_loop(const void* data, std::size_t size, const std::string& path, Once once) {
  // Linux transfers at most 2^31 - 4096 bytes a call; smaller requests also let a signal through in time.
  constexpr std::size_t kMaxRequest = std::size_t{1} << 27;
  const auto* bytes = static_cast<const std::byte*>(data);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = once(bytes + done, std::min(size - done, kMaxRequest), done);
    if (n < 0) {
      if (errno == EINTR) continue;
      throw_errno("write", path, errno);
    }
    if (n == 0) throw_errno("write", path, EIO);
    done += static_cast<std::size_t>(n);
  }
}

}  // namespace

void pwrite_fully(FileOps& ops, int fd, const void* data, std::size_t size, std::uint64_t offset,
                  const std::string& path) {
  write_loop(data, size, path, [&](const std::byte* from, std::size_t count, std::size_t done) {
    return ops.pwrite(fd, from, count, static_cast<off_t>(offset + done));
  });
}

void write_fully(FileOps& ops, int fd, const void* data, std::size_t size, const std::string& path) {
  write_loop(data, size, path,
             [&](const std::byte* from, std::size_t count, std::size_t) { return ops.write(fd, from, count); });
}

void fsync_or_throw(FileOps& ops, int fd, const std::string& path) {
  if (ops.fsync(fd) != 0) throw_errno("make durable (fsync)", path, errno);
}

void ftruncate_or_throw(FileOps& ops, int fd, std::uint64_t size, const std::string& path) {
  int result;
  do {
    result = ops.ftruncate(fd, static_cast<off_t>(size));
  } while (result != 0 && errno == EINTR);
  if (result != 0) throw_errno("set the length of", path, errno);
}

std::size_t pread_fully(int fd, void* data, std::size_t size, std::uint64_t offset, const std::string& path) {
  auto* bytes = static_cast<std::byte*>(data);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::pread(fd, bytes + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0) {
      if (errno == EINTR) continue;
      throw_errno("read", path, errno);
    }
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

UniqueFd::UniqueFd(UniqueFd&& other) noexcept : ops_(other.ops_), fd_(std::exchange(other.fd_, -1)) {}

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    reset();
    ops_ = other.ops_;
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void UniqueFd::reset() noexcept {
  if (fd_ >= 0) ops_->close(fd_);
  fd_ = -1;
}

void UniqueFd::close_or_throw(const std::string& path) {
  // The descriptor is gone whatever close() says; EINTR on Linux too means closed.
  if (ops_->close(std::exchange(fd_, -1)) != 0 && errno != EINTR) throw_errno("close", path, errno);
}

DirectoryOf::DirectoryOf(FileOps& ops, const std::string& path) : ops_(ops) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  path_ = parent.empty() ? std::string(".") : parent.string();
  fd_ = UniqueFd(ops, ops.open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
  if (!fd_.valid()) throw_errno("open the directory", path_, errno);
}

void DirectoryOf::fsync() {
  // Some file systems cannot sync a directory and say EINVAL; they then order renames by themselves or not at all.
  if (ops_.fsync(fd_.get()) != 0 && errno != EINVAL) throw_errno("make durable (fsync)", path_, errno);
}

UniqueFd open_for_reading(const std::string& path) {
  FileOps& ops = FileOps::system();
  // O_NONBLOCK: opening a FIFO must not wait for somebody to write into it. Regular files ignore it.
  UniqueFd fd(ops, ops.open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0));
  if (!fd.valid()) throw_errno("open", path, errno);
  struct stat status = {};
  if (::fstat(fd.get(), &status) != 0) throw_errno("examine", path, errno);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::failed, fmt::format("cannot read '{}': expected a regular file, found a {}", path,
                                               S_ISDIR(status.st_mode) ? "directory" : "special file"));
  }
  return fd;
}

}  // namespace ivf::format

#include "writer_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>

#include "ivf/error.hpp"

namespace ivf::format {
namespace {

/// Locks whatever file `path` names; an invalid descriptor when it names none and `must_exist` is false.
UniqueFd open_and_lock(FileOps& ops, const std::string& path, int access, bool must_exist) {
  constexpr int kAttempts = 100;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    UniqueFd fd(ops, ops.open(path.c_str(), access | O_CLOEXEC | O_NONBLOCK, 0));
    if (!fd.valid()) {
      if (errno == EINTR) continue;
      if (errno == ENOENT && !must_exist) return {};
      throw_errno("open", path, errno);
    }
    struct stat status = {};
    if (::fstat(fd.get(), &status) != 0) throw_errno("examine", path, errno);
    if (!S_ISREG(status.st_mode)) {
      throw Error(ErrorKind::failed,
                  fmt::format("cannot write '{}': expected a regular file, found another kind", path));
    }
    lock_now(fd.get(), path);
    // Between open and flock somebody may have renamed another file to `path`; a lock on the old one excludes nobody.
    if (names_file(path, fd.get())) return fd;
  }
  throw Error(ErrorKind::failed, fmt::format("cannot lock '{}': it is being replaced again and again", path));
}

}  // namespace

UniqueFd open_locked(FileOps& ops, const std::string& path) { return open_and_lock(ops, path, O_RDWR, true); }

UniqueFd lock_replaced(FileOps& ops, const std::string& path) { return open_and_lock(ops, path, O_RDONLY, false); }

std::unique_ptr<WriteLock> WriteLock::take(const std::string& path) {
  return std::make_unique<FileLock>(FileOps::system(), path);
}

void lock_now(int fd, const std::string& path) {
  int result;
  do {
    result = ::flock(fd, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return;
  if (errno == EWOULDBLOCK) {
    throw Error(ErrorKind::failed,
                fmt::format("cannot write '{}': another writer holds its lock; try again when it has "
                            "finished",
                            path));
  }
  throw_errno("lock", path, errno);
}

bool names_file(const std::string& path, int fd) {
  struct stat named = {};
  struct stat open = {};
  if (::stat(path.c_str(), &named) != 0 || ::fstat(fd, &open) != 0) return false;
  return named.st_dev == open.st_dev && named.st_ino == open.st_ino;
}

}  // namespace ivf::format

#pragma once
/// \file
/// One writer at a time: an exclusive flock on the index file itself.

#include <string>
#include <utility>

#include "file_ops.h"
#include "ivf/format/container.hpp"

namespace ivf::format {

/// Opens the index for reading and writing and locks it. The file at `path` when this returns is the locked one, even
/// when it was replaced in between. Throws Error(failed) when another writer holds the lock.
UniqueFd open_locked(FileOps& ops, const std::string& path);

/// Locks the file that is about to be replaced, so that no writer appends to it meanwhile; an invalid descriptor when
/// there is none. Throws Error(failed) when a writer holds the lock.
UniqueFd lock_replaced(FileOps& ops, const std::string& path);

/// The public lock: that of the file that is about to be replaced.
class FileLock final : public WriteLock {
 public:
  FileLock(FileOps& ops, const std::string& path) : path_(path), fd_(lock_replaced(ops, path)) {}
  const std::string& path() const override { return path_; }
  /// The descriptor that holds the lock, for a writer that goes on with it.
  UniqueFd release() noexcept { return std::move(fd_); }

 private:
  std::string path_;
  UniqueFd fd_;
};

/// Locks an open file or throws; `path` is for the message.
void lock_now(int fd, const std::string& path);

/// Whether `path` names the file that is open as `fd`.
bool names_file(const std::string& path, int fd);

}  // namespace ivf::format

#pragma once
/// \file
/// A file that is written under a temporary name and appears under its own when it is complete.

#include <string>

#include "file_ops.h"

namespace ivf::format {

/// Creates `PATH.tmp.XXXXXX` beside PATH (beside its target when PATH is a symbolic link, which stays one).
/// publish() makes it durable and renames it; destruction without publish() removes it.
class NewFile {
 public:
  NewFile(FileOps& ops, const std::string& path);
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile();

  int fd() const noexcept { return fd_.get(); }
  const std::string& temporary_path() const noexcept { return temporary_; }
  /// Where publish() puts the file: the given path with symbolic links resolved.
  const std::string& destination() const noexcept { return destination_; }

  /// fsync, mode of the replaced file, rename, fsync of the directory. With `replace` false an existing destination is
  /// an Error(misuse).
  void publish(bool replace);
  /// The descriptor, for a writer that goes on after publish().
  UniqueFd release() noexcept { return std::move(fd_); }

 private:
  FileOps& ops_;
  std::string destination_;
  std::string temporary_;
  UniqueFd fd_;
  bool published_ = false;
};

/// Follows symbolic links to the path that a write would change. Throws Error(failed) for a link to nowhere.
std::string resolve_links(const std::string& path);

}  // namespace ivf::format

#include "new_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>

#include "ivf/error.hpp"

namespace ivf::format {
namespace {

/// Six characters that another process is unlikely to choose at the same time; O_EXCL settles what remains.
std::string random_suffix() {
  static constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  unsigned char bytes[6];
  if (::getrandom(bytes, sizeof bytes, 0) != static_cast<ssize_t>(sizeof bytes)) {
    throw_errno("draw random bytes for a temporary name beside", "the output", errno);
  }
  std::string suffix;
  for (const unsigned char byte : bytes) suffix += kAlphabet[byte % (sizeof kAlphabet - 1)];
  return suffix;
}

constexpr mode_t kPermissions = 0777;

}  // namespace

std::string resolve_links(const std::string& path) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISLNK(status.st_mode)) return path;
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
  if (real == nullptr) throw_errno("follow the symbolic link", path, errno);
  return real.get();
}

NewFile::NewFile(FileOps& ops, const std::string& path) : ops_(ops), destination_(resolve_links(path)) {
  struct stat status = {};
  // A file that will replace another is never readable by more people than that one, not even while it is written.
  const mode_t mode = ::stat(destination_.c_str(), &status) == 0 ? status.st_mode & kPermissions & ~mode_t{0111} : 0666;
  constexpr int kAttempts = 100;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    temporary_ = fmt::format("{}.tmp.{}", destination_, random_suffix());
    fd_ = UniqueFd(ops_, ops_.open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode | S_IWUSR));
    if (fd_.valid()) return;
    if (errno != EEXIST && errno != EINTR) throw_errno("create a temporary file beside", destination_, errno);
  }
  throw_errno("create a temporary file beside", destination_, EEXIST);
}

NewFile::~NewFile() {
  if (!published_) ops_.unlink(temporary_.c_str());
}

void NewFile::publish(bool replace) {
  struct stat status = {};
  if (::stat(destination_.c_str(), &status) == 0) {
    if (!replace) {
      throw Error(ErrorKind::misuse,
                  fmt::format("'{}' appeared while it was being written; nothing was replaced", destination_));
    }
    if (ops_.fchmod(fd_.get(), status.st_mode & kPermissions) != 0) throw_errno("set the mode of", temporary_, errno);
  }
  fsync_or_throw(ops_, fd_.get(), temporary_);
  DirectoryOf directory(ops_, destination_);
  int result = -1;
  if (!replace) {
    result = ops_.rename_noreplace(temporary_.c_str(), destination_.c_str());
    // Where the file system cannot promise it, the check above is all there is.
    if (result != 0 && (errno == EINVAL || errno == ENOSYS)) replace = true;
  }
  if (replace) result = ops_.rename(temporary_.c_str(), destination_.c_str());
  if (result != 0) throw_errno("rename a temporary file to", destination_, errno);
  published_ = true;
  directory.fsync();
}

}  // namespace ivf::format

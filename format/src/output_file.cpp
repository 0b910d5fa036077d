#include "ivf/format/output_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "file_ops.h"
#include "ivf/error.hpp"
#include "new_file.h"

namespace ivf::format {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

/// Whether the path stands for an open descriptor (`--out /dev/stdout > file`): what the shell opened must be written
/// then, not a new file put in its place.
bool names_descriptor(const std::string& path) {
  return path == "/dev/stdout" || path == "/dev/stderr" || path.rfind("/dev/fd/", 0) == 0 ||
         path.rfind("/proc/self/fd/", 0) == 0;
}

}  // namespace

OutputFile::OutputFile(std::string path) : OutputFile(std::move(path), FileOps::system()) {}

OutputFile::OutputFile(std::string path, FileOps& ops) : ops_(ops), path_(std::move(path)) {
  struct stat status = {};
  const bool exists = ::stat(path_.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) throw_errno("write", path_, EISDIR);
  if (exists && (!S_ISREG(status.st_mode) || names_descriptor(path_))) {
    device_ = ops_.open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY, 0);
    if (device_ < 0) throw_errno("open", path_, errno);
  } else {
    file_ = std::make_unique<NewFile>(ops_, path_);
  }
}

OutputFile::~OutputFile() {
  if (device_ >= 0) ops_.close(device_);
}

const std::string& OutputFile::temporary_path() const noexcept { return file_ ? file_->temporary_path() : path_; }

void OutputFile::check_usable() const {
  if (committed_ || failed_) {
    throw Error(ErrorKind::failed, fmt::format("cannot write '{}': it was {} before", path_,
                                               committed_ ? "completed" : "abandoned after an error"));
  }
}

void OutputFile::write(const void* data, std::size_t size) {
  check_usable();
  if (buffer_.size() + size > kBufferBytes) flush();
  if (size < kBufferBytes) {
    buffer_.append(static_cast<const char*>(data), size);
    size_ += size;
    return;
  }
  // Large pieces are not copied.
  failed_ = true;
  if (file_) {
    pwrite_fully(ops_, file_->fd(), data, size, size_, path_);
  } else {
    write_fully(ops_, device_, data, size, path_);
  }
  failed_ = false;
  size_ += size;
}

void OutputFile::write_at(std::uint64_t offset, const void* data, std::size_t size) {
  check_usable();
  flush();
  if (!file_) throw_errno("write at an offset of", path_, ESPIPE);
  failed_ = true;
  pwrite_fully(ops_, file_->fd(), data, size, offset, path_);
  failed_ = false;
}

void OutputFile::flush() {
  if (buffer_.empty()) return;
  failed_ = true;  // Stays set when the write throws.
  if (file_) {
    pwrite_fully(ops_, file_->fd(), buffer_.data(), buffer_.size(), size_ - buffer_.size(), path_);
  } else {
    write_fully(ops_, device_, buffer_.data(), buffer_.size(), path_);
  }
  failed_ = false;
  buffer_.clear();
}

void OutputFile::commit() {
  check_usable();
  flush();
  failed_ = true;
  if (file_) {
    file_->publish(true);
    file_->release().close_or_throw(path_);
  } else if (ops_.close(std::exchange(device_, -1)) != 0 && errno != EINTR) {
    throw_errno("close", path_, errno);
  }
  failed_ = false;
  committed_ = true;
}

}  // namespace ivf::format

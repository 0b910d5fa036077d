#include "input.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "errors.h"

namespace ivf::datasets {

Input::Input(const std::string& path) : name_(path == "-" ? "standard input" : path) {
  if (path == "-") {
    fd_ = STDIN_FILENO;
    if (isatty(fd_) != 0) throw misuse("standard input is a terminal; pipe vectors into it, or name a file");
  } else {
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) throw failed("{}: cannot be opened: {}", name_, std::strerror(errno));
    owned_ = true;
  }
  struct stat info {};
  const int status = fstat(fd_, &info);
  const int error = errno;
  if (status != 0 || S_ISDIR(info.st_mode)) {
    if (owned_) ::close(fd_);
    if (status != 0) throw failed("{}: cannot be examined: {}", name_, std::strerror(error));
    throw misuse("{}: is a folder; name a file", name_);
  }
  if (S_ISREG(info.st_mode)) {
    const off_t here = owned_ ? 0 : lseek(fd_, 0, SEEK_CUR);
    origin_ = here > 0 ? static_cast<std::uint64_t>(here) : 0;
    const auto whole = static_cast<std::uint64_t>(info.st_size);
    size_ = whole > origin_ ? whole - origin_ : 0;
    // Only a hint; a file system that does not know it loses nothing.
    static_cast<void>(posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL));
  }
  buffer_ = std::make_unique_for_overwrite<std::byte[]>(kCapacity);
}

Input::~Input() {
  if (owned_) ::close(fd_);
}

std::size_t Input::read_some(std::byte* out, std::size_t count) {
  for (;;) {
    const ssize_t got = ::read(fd_, out, count);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) {
      throw failed("{}: read error after byte {}: {}", name_, offset_ + (end_ - begin_), std::strerror(errno));
    }
  }
}

std::span<const std::byte> Input::peek(std::size_t wanted) {
  if (end_ - begin_ < wanted) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    while (end_ < wanted) {
      const std::size_t got = read_some(buffer_.get() + end_, kCapacity - end_);
      if (got == 0) break;
      end_ += got;
    }
  }
  return {buffer_.get() + begin_, end_ - begin_};
}

void Input::consume(std::size_t count) noexcept {
  begin_ += count;
  offset_ += count;
}

std::uint64_t Input::skip(std::uint64_t count) {
  if (size_) {
    const std::uint64_t distance = std::min(count, *size_ - std::min(offset_, *size_));
    seek(offset_ + distance);
    return distance;
  }
  std::uint64_t left = count;
  while (left > 0) {
    const std::size_t available = peek(1).size();
    if (available == 0) break;
    const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(left, available));
    consume(step);
    left -= step;
  }
  return count - left;
}

void Input::seek(std::uint64_t offset) {
  if (lseek(fd_, static_cast<off_t>(origin_ + offset), SEEK_SET) < 0) {
    throw failed("{}: cannot seek to byte {}: {}", name_, offset, std::strerror(errno));
  }
  begin_ = end_ = 0;
  offset_ = offset;
}

}  // namespace ivf::datasets

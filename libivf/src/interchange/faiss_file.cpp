#include "interchange/faiss_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ivf::detail {

SizedFile::SizedFile(const std::string& path)
    : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (fd_ < 0) throw Error(ErrorKind::failed, fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
  struct stat info {};
  const int status = ::fstat(fd_, &info);
  if (status == 0 && S_ISREG(info.st_mode)) {
    size_ = static_cast<std::uint64_t>(info.st_size);
    return;
  }
  const int error = errno;
  ::close(fd_);
  if (status != 0)
    throw Error(ErrorKind::failed, fmt::format("{}: cannot be examined: {}", path, std::strerror(error)));
  throw Error(ErrorKind::misuse,
              fmt::format("{}: expected a file, which is read in more than one place; found a folder, pipe or device; "
                          "save what it holds to a file first",
                          path));
}

SizedFile::~SizedFile() { ::close(fd_); }

void SizedFile::read(std::uint64_t offset, void* data, std::size_t size) const {
  auto* to = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = ::pread(fd_, to, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw Error(ErrorKind::failed,
                  fmt::format("{}: cannot be read at byte {}: {}", path_, offset, std::strerror(errno)));
    }
    if (got == 0) {
      throw Error(ErrorKind::corrupt,
                  fmt::format("{}: expected {} bytes, found its end at byte {}: it was cut off while it was read; try "
                              "again when nobody writes to it",
                              path_, size_, offset));
    }
    to += got;
    offset += static_cast<std::uint64_t>(got);
    size -= static_cast<std::size_t>(got);
  }
}

}  // namespace ivf::detail

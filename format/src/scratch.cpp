#include "ivf/format/scratch.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "ivf/error.hpp"

namespace ivf::format {
namespace {

[[noreturn]] void fail(std::uint64_t size, const std::string& where, int error) {
  throw Error(ErrorKind::failed,
              fmt::format("cannot reserve {} bytes of working space in {}: {}", size, where, std::strerror(error)));
}

/// A file without a name.
class UnnamedFile {
 public:
  UnnamedFile(std::uint64_t size, const std::string& beside) {
    const auto slash = beside.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : beside.substr(0, slash);
    fd_ = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd_ < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
      std::string name = directory + "/.ivf-scratch-XXXXXX";
      fd_ = ::mkostemp(name.data(), O_CLOEXEC);
      if (fd_ >= 0) ::unlink(name.c_str());
    }
    if (fd_ < 0) fail(size, directory, errno);
    // All of it now: a disk that fills up later would be a SIGBUS where a page is touched.
    int error;
    do {
      error = ::posix_fallocate(fd_, 0, static_cast<off_t>(size));
    } while (error == EINTR);
    if (error != 0) {
      ::close(fd_);
      fail(size, directory, error);
    }
  }
  UnnamedFile(const UnnamedFile&) = delete;
  UnnamedFile& operator=(const UnnamedFile&) = delete;
  ~UnnamedFile() { ::close(fd_); }
  int fd() const noexcept { return fd_; }

 private:
  int fd_ = -1;
};

void* map(std::uint64_t size, int flags, int fd, const std::string& where) {
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (data == MAP_FAILED) fail(size, where, errno);
  return data;
}

}  // namespace

ScratchBytes::ScratchBytes(std::uint64_t size, std::uint64_t memory, const std::string& beside) : size_(size) {
  if (size == 0) return;
  if (size <= memory) {
    data_ = map(size, MAP_PRIVATE | MAP_ANONYMOUS, -1, "memory");
    return;
  }
  const UnnamedFile file(size, beside);
  data_ = map(size, MAP_SHARED, file.fd(), beside);  // The map keeps the file.
}

ScratchBytes::ScratchBytes(ScratchBytes&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

ScratchBytes& ScratchBytes::operator=(ScratchBytes&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

ScratchBytes::~ScratchBytes() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace ivf::format

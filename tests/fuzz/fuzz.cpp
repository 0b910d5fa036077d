#include "fuzz.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ivf::fuzz {
namespace {

std::string path_of(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    require(written > 0, "the harness can write its own files");
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

// Not memfd_create(): the HDF5 library asks where a link leads, and such a file is nowhere.
MemoryFile::MemoryFile(std::string_view bytes, std::string_view end)
    : path_(std::string("/dev/shm/ivf-fuzz-XXXXXX").append(end)) {
  const int fd = ::mkostemps(path_.data(), static_cast<int>(end.size()), O_CLOEXEC);
  require(fd >= 0, "the system has files in memory");
  write_all(fd, bytes);
  ::close(fd);
}

MemoryFile::~MemoryFile() { ::unlink(path_.c_str()); }

MemoryPipe::MemoryPipe(std::string_view bytes) {
  int ends[2] = {-1, -1};
  require(bytes.size() <= kCapacity && ::pipe(ends) == 0, "the system has pipes");
  write_all(ends[1], bytes);
  ::close(ends[1]);
  fd_ = ends[0];
  path_ = path_of(fd_);
}

MemoryPipe::~MemoryPipe() { ::close(fd_); }

std::uint8_t Choices::byte() {
  const std::string_view one = take(1);
  return one.empty() ? 0 : static_cast<std::uint8_t>(one.front());
}

std::uint32_t Choices::u32() {
  std::uint32_t value = 0;
  const std::string_view four = take(sizeof value);
  std::memcpy(&value, four.data(), four.size());
  return value;
}

std::string_view Choices::take(std::size_t count) {
  const std::string_view taken = bytes_.substr(0, count);
  bytes_.remove_prefix(taken.size());
  return taken;
}

bool accepted(const std::function<void()>& action) {
  try {
    action();
    return true;
  } catch (const Error& error) {
    const std::string_view message = error.what();
    require(!message.empty() && message.find('\n') == std::string_view::npos, "an error is one line");
    const bool blames_input = error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::misuse;
    if (!blames_input) std::fprintf(stderr, "fuzz: it says: %s\n", error.what());
    require(blames_input, "an input is corrupt or misused; the operation itself does not fail");
    return false;
  }
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: does not hold: %s\n", what);
  std::abort();
}

}  // namespace ivf::fuzz

#include "output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "errors.h"
#include "ivf/format/output_file.hpp"

namespace ivf::datasets {

namespace {

/// Writes all of it, at the file's position. Returns 0 or errno.
int write_all(int fd, const char* data, std::size_t size) noexcept {
  while (size > 0) {
    const ssize_t written = ::write(fd, data, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    data += written;
    size -= static_cast<std::size_t>(written);
  }
  return 0;
}

class FileOutput final : public Output {
 public:
  explicit FileOutput(const std::string& path) : Output(path), file_(path) {}
  void write(const void* data, std::size_t size) override { file_.write(data, size); }
  void write_at(std::uint64_t offset, const void* data, std::size_t size) override {
    file_.write_at(offset, data, size);
  }
  void finish() override { file_.commit(); }

 private:
  format::OutputFile file_;
};

/// Standard output, a device or a named pipe.
class StreamOutput final : public Output {
 public:
  explicit StreamOutput(const std::string& path) : Output(path == "-" ? "standard output" : path) {
    if (path == "-") {
      fd_ = STDOUT_FILENO;
      if (isatty(fd_) != 0) throw misuse("standard output is a terminal; redirect it, or name a file");
    } else {
      fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
      if (fd_ < 0) throw failed("{}: cannot be opened for writing: {}", name(), std::strerror(errno));
      owned_ = true;
    }
    buffer_.reserve(kCapacity);
  }
  StreamOutput(const StreamOutput&) = delete;
  StreamOutput& operator=(const StreamOutput&) = delete;
  ~StreamOutput() override {
    if (owned_) ::close(fd_);
  }

  void write(const void* data, std::size_t size) override {
    if (buffer_.size() + size > kCapacity) flush();
    if (size >= kCapacity) {
      put(static_cast<const char*>(data), size);
    } else {
      buffer_.append(static_cast<const char*>(data), size);
    }
  }

  bool can_patch() const noexcept override { return false; }
  void write_at(std::uint64_t, const void*, std::size_t) override {
    throw failed("{}: cannot be written out of order", name());
  }

  void finish() override { flush(); }

 private:
  static constexpr std::size_t kCapacity = std::size_t{1} << 18;

  void flush() {
    put(buffer_.data(), buffer_.size());
    buffer_.clear();
  }

  void put(const char* data, std::size_t size) {
    if (const int error = write_all(fd_, data, size); error != 0) {
      throw failed("{}: write error: {}", name(), std::strerror(error));
    }
  }

  int fd_ = -1;
  bool owned_ = false;
  std::string buffer_;
};

/// A stream whose bytes can be changed until the end.
class SpooledOutput final : public Output {
 public:
  explicit SpooledOutput(const std::string& path) : Output(path), stream_(path), spool_(stream_.name()) {}
  void write(const void* data, std::size_t size) override { spool_.write(data, size); }
  void write_at(std::uint64_t offset, const void* data, std::size_t size) override {
    spool_.write_at(offset, data, size);
  }
  void finish() override {
    spool_.copy_to(stream_);
    stream_.finish();
  }

 private:
  StreamOutput stream_;
  Spool spool_;
};

}  // namespace

bool is_stream(const std::string& path) {
  struct stat info {};
  return path == "-" || (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode));
}

std::unique_ptr<Output> Output::open(const std::string& path, bool patched) {
  if (!is_stream(path)) return std::make_unique<FileOutput>(path);
  if (patched) return std::make_unique<SpooledOutput>(path);
  return std::make_unique<StreamOutput>(path);
}

Spool::Spool(std::string owner) : owner_(std::move(owner)) {
  const char* directory = std::getenv("TMPDIR");
  std::string path = directory != nullptr && *directory != '\0' ? directory : "/tmp";
  path += "/ivf-spool-XXXXXX";
  fd_ = mkostemp(path.data(), O_CLOEXEC);
  if (fd_ < 0) fail();
  ::unlink(path.c_str());
}

Spool::~Spool() { ::close(fd_); }

void Spool::fail() const {
  throw failed("{}: temporary file (set TMPDIR to a folder with room): {}", owner_, std::strerror(errno));
}

void Spool::write(const void* data, std::size_t size) {
  if (write_all(fd_, static_cast<const char*>(data), size) != 0) fail();
  size_ += size;
}

void Spool::write_at(std::uint64_t offset, const void* data, std::size_t size) {
  if (lseek(fd_, static_cast<off_t>(offset), SEEK_SET) < 0) fail();
  if (write_all(fd_, static_cast<const char*>(data), size) != 0) fail();
  if (lseek(fd_, static_cast<off_t>(size_), SEEK_SET) < 0) fail();
}

void Spool::copy_to(Output& out) {
  if (lseek(fd_, 0, SEEK_SET) < 0) fail();
  std::string buffer(std::size_t{1} << 18, '\0');
  for (;;) {
    const ssize_t got = ::read(fd_, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail();
    if (got == 0) return;
    out.write(buffer.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace ivf::datasets

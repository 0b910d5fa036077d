#pragma once
/// \file
/// A file of faiss, read from the front: every access is checked against the file's length.

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "ivf/error.hpp"

namespace ivf::detail {

/// The four bytes by which faiss names what follows, as it compares them: a little-endian number.
constexpr std::uint32_t fourcc(const char (&name)[5]) noexcept {
  std::uint32_t code = 0;
  for (int i = 3; i >= 0; --i) code = code << 8 | static_cast<unsigned char>(name[i]);
  return code;
}

/// A regular file that is read at any offset. A file that shrinks while it is read is an error like any other.
class SizedFile {
 public:
  /// Throws Error(failed) when it cannot be opened, Error(misuse) when it is no regular file.
  explicit SizedFile(const std::string& path);
  SizedFile(const SizedFile&) = delete;
  SizedFile& operator=(const SizedFile&) = delete;
  ~SizedFile();

  const std::string& path() const noexcept { return path_; }
  std::uint64_t size() const noexcept { return size_; }
  void read(std::uint64_t offset, void* data, std::size_t size) const;

 private:
  std::string path_;
  int fd_;
  std::uint64_t size_ = 0;
};

/// A place in a file that moves forward.
class FaissCursor {
 public:
  explicit FaissCursor(const SizedFile& file) : file_(file) {}

  std::uint64_t offset() const noexcept { return at_; }
  std::uint64_t left() const noexcept { return file_.size() - at_; }

  /// The next value; `what` names it in messages.
  template <class T>
  T take(const char* what) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    require_items(1, sizeof value, what);
    file_.read(at_, &value, sizeof value);
    at_ += sizeof value;
    return value;
  }

  /// Throws unless the file goes on for `count` items of `item_bytes`: whatever is allocated by them is bounded then.
  void require_items(std::uint64_t count, std::uint64_t item_bytes, const char* what) {
    last_ = at_;
    if (count <= left() / item_bytes) return;
    refuse(fmt::format("{} of {} bytes for {}", count, item_bytes, what), fmt::format("{} bytes to the end", left()));
  }
  void skip_items(std::uint64_t count, std::uint64_t item_bytes, const char* what) {
    require_items(count, item_bytes, what);
    at_ += count * item_bytes;
  }

  void require_end() {
    last_ = at_;
    if (left() != 0) refuse("the end of the file", fmt::format("more (bytes: {})", left()));
  }

  /// Throws Error(corrupt) that names the place of what was taken or required last.
  [[noreturn]] void refuse(const std::string& expected, const std::string& found) const {
    throw Error(ErrorKind::corrupt, fmt::format("{}: at byte {}: expected {}, found {}; write it again with faiss",
                                                file_.path(), last_, expected, found));
  }

 private:
  const SizedFile& file_;
  std::uint64_t at_ = 0;
  std::uint64_t last_ = 0;
};

}  // namespace ivf::detail

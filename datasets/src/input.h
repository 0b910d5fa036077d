#pragma once
/// \file
/// A stream of bytes from a file or a pipe.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace ivf::datasets {

/// Reads front to back through a fixed buffer; skips by seeking where the system allows it.
class Input {
 public:
  /// No record is larger than this, so that one always fits.
  static constexpr std::size_t kCapacity = std::size_t{1} << 20;

  /// `path` "-" is standard input. Throws Error(failed) when it cannot be opened, Error(misuse) for a terminal or a
  /// directory.
  explicit Input(const std::string& path);
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  ~Input();

  /// What messages call it.
  const std::string& name() const noexcept { return name_; }
  /// Number of bytes from the start of the stream to its end, for a regular file.
  std::optional<std::uint64_t> size() const noexcept { return size_; }
  /// Number of bytes consumed so far.
  std::uint64_t offset() const noexcept { return offset_; }

  /// The bytes that come next: at least `wanted` (at most kCapacity) of them unless the stream ends before.
  std::span<const std::byte> peek(std::size_t wanted);
  void consume(std::size_t count) noexcept;
  /// Skips `count` bytes. Returns the number skipped, less than `count` only at the end of the stream.
  std::uint64_t skip(std::uint64_t count);
  /// Goes to an offset of a regular file.
  void seek(std::uint64_t offset);

 private:
  std::size_t read_some(std::byte* out, std::size_t count);

  std::string name_;
  int fd_ = -1;
  bool owned_ = false;
  std::uint64_t origin_ = 0;  ///< Where the stream starts: a redirected file may be handed over half read.
  std::optional<std::uint64_t> size_;
  std::uint64_t offset_ = 0;
  std::unique_ptr<std::byte[]> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace ivf::datasets

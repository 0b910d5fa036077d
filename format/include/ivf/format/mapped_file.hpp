#pragma once
/// \file
/// A read-only memory map of a whole file.

#include <cstddef>
#include <span>
#include <string>

namespace ivf::format {

/// Maps a regular file read-only for the life of the object. Movable.
class MappedFile {
 public:
  MappedFile() = default;
  /// Throws Error(failed) with the path and the reason when the file cannot be opened or mapped.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  std::size_t size() const noexcept { return size_; }
  const std::string& path() const noexcept { return path_; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::string path_;
};

}  // namespace ivf::format

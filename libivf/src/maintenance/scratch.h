#pragma once
/// \file
/// Arrays that may be larger than memory.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

namespace ivf::detail {

/// Cleared bytes: in memory, or mapped from a file without a name, whose pages the system writes out when it needs the
/// memory for something else.
class ScratchBytes {
 public:
  /// In memory when `size` is at most `memory`, else in a file in the directory of `beside`. Throws Error(failed) when
  /// there is no room.
  ScratchBytes(std::uint64_t size, std::uint64_t memory, const std::string& beside);
  ScratchBytes(ScratchBytes&& other) noexcept;
  ScratchBytes& operator=(ScratchBytes&& other) noexcept;
  ~ScratchBytes();

  void* data() const noexcept { return data_; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

template <class T>
class ScratchArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  ScratchArray(std::uint64_t size, std::uint64_t memory, const std::string& beside)
      : bytes_(size * sizeof(T), memory, beside), size_(size) {}

  std::span<T> span() const noexcept { return {static_cast<T*>(bytes_.data()), size_}; }

 private:
  ScratchBytes bytes_;
  std::size_t size_;
};

}  // namespace ivf::detail

#pragma once
/// \file
/// Working memory that may be larger than the machine's.

#include <cstddef>
#include <cstdint>
#include <string>

namespace ivf::format {

/// Cleared bytes: in memory, or mapped from a file without a name, whose pages the system writes out when it needs the
/// memory for something else.
class ScratchBytes {
 public:
  ScratchBytes() = default;
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

}  // namespace ivf::format

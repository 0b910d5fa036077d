#pragma once
/// \file
/// Arrays that may be larger than memory.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "ivf/format/scratch.hpp"

namespace ivf::detail {

/// Cleared elements, in memory or in a file (ivf/format/scratch.hpp).
template <class T>
class ScratchArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  ScratchArray(std::uint64_t size, std::uint64_t memory, const std::string& beside)
      : bytes_(size * sizeof(T), memory, beside), size_(size) {}

  std::span<T> span() const noexcept { return {static_cast<T*>(bytes_.data()), size_}; }

 private:
  format::ScratchBytes bytes_;
  std::size_t size_;
};

}  // namespace ivf::detail

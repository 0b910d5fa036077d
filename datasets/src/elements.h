#pragma once
/// \file
/// Conversion between stored elements and the two types that the project computes with, float32 and idx_t.

#include <cstddef>
#include <cstdint>

#include "ivf/datasets/datasets.hpp"

namespace ivf::datasets {

/// The largest dimension that the project handles. A header that claims more is refused before anything is allocated.
inline constexpr std::uint64_t kMaxDim = 65536;

std::size_t element_size(Element element) noexcept;
bool is_integer(Element element) noexcept;

/// Each converter handles `count` elements and returns how many it converted: less than `count` when the element at
/// that index has no exact counterpart. `swapped` means that the stored bytes are big-endian. `stored` needs no
/// alignment. float64 is the exception to exactness: it is rounded to the nearest float32.
std::size_t to_float(Element element, bool swapped, const std::byte* stored, std::size_t count, float* out) noexcept;

/// `element` must be an integer type.
std::size_t to_ids(Element element, bool swapped, const std::byte* stored, std::size_t count, idx_t* out) noexcept;

/// Little-endian output.
std::size_t from_float(const float* values, std::size_t count, Element element, std::byte* out) noexcept;
std::size_t from_ids(const idx_t* values, std::size_t count, Element element, std::byte* out) noexcept;

}  // namespace ivf::datasets

#pragma once
/// \file
/// Sets of rows as bits: row r is bit r % 64 of word r / 64. Bits past the last row are zero.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace ivf::format {

/// Words that hold a bit for each of `rows` rows.
constexpr std::uint64_t row_words(std::uint64_t rows) noexcept { return (rows + 63) / 64; }

/// Whether the set holds the row; an empty span is the empty set.
constexpr bool has_row(std::span<const std::uint64_t> bits, std::uint64_t row) noexcept {
  return !bits.empty() && (bits[row / 64] >> (row % 64) & 1) != 0;
}

constexpr void insert_row(std::span<std::uint64_t> bits, std::uint64_t row) noexcept {
  bits[row / 64] |= std::uint64_t{1} << (row % 64);
}

constexpr std::uint64_t count_rows(std::span<const std::uint64_t> bits) noexcept {
  std::uint64_t count = 0;
  for (const std::uint64_t word : bits) count += static_cast<std::uint64_t>(std::popcount(word));
  return count;
}

/// How many rows of [begin, end) the set holds.
constexpr std::uint64_t count_rows(std::span<const std::uint64_t> bits, std::uint64_t begin,
                                   std::uint64_t end) noexcept {
  if (bits.empty() || begin >= end) return 0;
  const std::uint64_t first = begin / 64, last = (end - 1) / 64;
  const std::uint64_t head = ~std::uint64_t{0} << (begin % 64), tail = ~std::uint64_t{0} >> (63 - (end - 1) % 64);
  if (first == last) return static_cast<std::uint64_t>(std::popcount(bits[first] & head & tail));
  return static_cast<std::uint64_t>(std::popcount(bits[first] & head)) +
         count_rows(bits.subspan(first + 1, last - first - 1)) +
         static_cast<std::uint64_t>(std::popcount(bits[last] & tail));
}

}  // namespace ivf::format

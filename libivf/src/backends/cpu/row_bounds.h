#pragma once
/// \file
/// What a scan is told of blocks of rows: the norms in its test, and their slack (docs/numerics.md §4).

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "backends/cpu/bounds.h"
#include "backends/cpu/kernels.h"

namespace ivf::detail::cpu {

/// Fills ScanArgs::half_norms, block_norms and block_slops of `rows` rows from their stored squared norms.
inline void describe_rows(const float* norms, std::size_t rows, bool inner_product, float* half_norms,
                          float* block_norms, float* block_slops) noexcept {
  for (std::size_t block = 0; block * scan_block_rows < rows; ++block) {
    const std::size_t from = block * scan_block_rows, to = std::min<std::size_t>(rows, from + scan_block_rows);
    // Floats that are not negative are ordered like their bits, and compilers vectorise the maximum of integers.
    std::int32_t bits = 0;
    for (std::size_t r = from; r < to; ++r) bits = std::max(bits, std::bit_cast<std::int32_t>(norms[r]));
    const float half = inner_product ? 0.0f : 0.5f;
    for (std::size_t r = from; r < to; ++r) half_norms[r] = norms[r] * half;
    const auto largest = std::bit_cast<float>(bits);
    const double norm = norm_bound(largest);
    const bool comparable = norm < largest_norm;
    block_norms[block] = comparable ? static_cast<float>(norm * (1 + 0x1p-22)) : infinity;
    block_slops[block] = !comparable ? infinity : inner_product ? 0.0f : largest * 0x1p-21f;
  }
}

}  // namespace ivf::detail::cpu

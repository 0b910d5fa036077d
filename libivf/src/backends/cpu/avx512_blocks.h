#pragma once
/// \file
/// Scanning with 16 queries a vector register, for levels that keep the products in registers (AVX-512 F,
/// AVX512-BF16). Included only by files compiled for AVX-512; everything has internal linkage.

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/cpu/avx512_select.h"
#include "backends/cpu/kernels.h"

namespace ivf::detail::cpu {
namespace {

/// `Level` gives the size of a tile and the products of `group` rows, from row `first` on, and `vectors` times 16
/// queries:
///   static constexpr size_t tile
///   template <size_t group, size_t vectors>
///   static void multiply(const ScanArgs* args, size_t first, __m512 (&sums)[group][vectors])
template <class Level>
struct Blocks {
  /// Rows multiplied together: eight by two vectors or sixteen by one make sixteen chains of additions, which hide the
  /// latency of one. Both divide a block, and are divided by a group of maxima().
  template <size_t vectors>
  static constexpr size_t group = 16 / vectors;

  template <size_t vectors>
  using Sums = __m512[group<vectors>][vectors];

  /// Appends the survivors among the products of a group's `live` rows from row `first` on.
  template <size_t vectors>
  static size_t select(const ScanArgs* args, size_t first, size_t live, const Sums<vectors>& sums, const __m512* bound,
                       size_t found) {
    const float* half_norms = args->half_norms + first;
    // Survivors are rare once thresholds are tight: one comparison of the largest difference answers for all rows.
    // The maximum may lose a NaN, but products are NaN only where a norm is so large that the bound is -inf and all
    // pass.
    unsigned any = 0;
    for (size_t v = 0; v < vectors; ++v) {
      __m512 largest = _mm512_set1_ps(-__builtin_inff());
      for (size_t r = 0; r < group<vectors>; ++r) {
        const __m512 half = _mm512_set1_ps(half_norms[r < live ? r : 0]);
        largest = _mm512_max_ps(largest, _mm512_sub_ps(sums[r][v], half));
      }
      any |= _mm512_mask_cmp_ps_mask(lanes_below(args->nq, v * 16), largest, bound[v], _CMP_NLT_UQ);
    }
    if (any == 0) return found;
    for (size_t r = 0; r < live; ++r) {
      const __m512 half = _mm512_set1_ps(half_norms[r]);
      for (size_t v = 0; v < vectors; ++v) {
        const __mmask16 keep = _mm512_mask_cmp_ps_mask(lanes_below(args->nq, v * 16), _mm512_sub_ps(sums[r][v], half),
                                                       bound[v], _CMP_NLT_UQ);
        const auto tag = static_cast<uint32_t>((first + r) * max_tile + v * 16);
        if (keep != 0) found = append(sums[r][v], keep, tag, args, found);
      }
    }
    return found;
  }

  template <size_t vectors>
  static size_t scan_rows(const ScanArgs* args) {
    constexpr size_t rows = group<vectors>;
    size_t found = 0;
    for (size_t block = 0; block * scan_block_rows < args->rows; ++block) {
      __m512 bound[vectors];
      for (size_t v = 0; v < vectors; ++v) bound[v] = block_bound(args, block, v * 16);
      const size_t end = (block + 1) * scan_block_rows < args->rows ? (block + 1) * scan_block_rows : args->rows;
      for (size_t first = block * scan_block_rows; first < end; first += rows) {
        Sums<vectors> sums;
        Level::template multiply<rows, vectors>(args, first, sums);
        found = select<vectors>(args, first, end - first < rows ? end - first : rows, sums, bound, found);
      }
    }
    return found;
  }

  template <size_t vectors>
  static void maxima_rows_of(const ScanArgs* args, float* maxima) {
    constexpr size_t rows = group<vectors>;
    for (size_t first = 0; first < args->rows; first += rows) {
      Sums<vectors> sums;
      Level::template multiply<rows, vectors>(args, first, sums);
      for (size_t begin = 0; begin < rows && first + begin < args->rows; begin += maxima_rows) {
        const size_t left = args->rows - first - begin, live = left < maxima_rows ? left : maxima_rows;
        for (size_t v = 0; v < vectors; ++v) {
          __m512 best = _mm512_set1_ps(-__builtin_inff());
          for (size_t r = begin; r < begin + live; ++r) {
            best = _mm512_max_ps(best, _mm512_sub_ps(sums[r][v], _mm512_set1_ps(args->half_norms[first + r])));
          }
          _mm512_storeu_ps(maxima + (first + begin) / maxima_rows * Level::tile + v * 16, best);
        }
      }
    }
  }

  static size_t scan(const ScanArgs* args) { return args->nq <= 16 ? scan_rows<1>(args) : scan_rows<2>(args); }

  static void maxima(const ScanArgs* args, float* maxima) {
    if (args->nq <= 16) {
      maxima_rows_of<1>(args, maxima);
    } else {
      maxima_rows_of<2>(args, maxima);
    }
  }
};

}  // namespace
}  // namespace ivf::detail::cpu

#pragma once
/// \file
/// What few_queries.h needs of AVX-512, whatever the arithmetic. Included only by files compiled for AVX-512;
/// everything has internal linkage.

#include "backends/cpu/abandon_rows.h"
#include "backends/cpu/avx512_select.h"

namespace ivf::detail::cpu {
namespace {

struct Avx512Sums {
  using Sum = __m512;
  static constexpr size_t part = 32;
  static constexpr size_t wide = 16;

  static Sum zero() { return _mm512_setzero_ps(); }

  static __m128 sum_of_four(Sum a, Sum b, Sum c, Sum d) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    const __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    const __m512 four = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
    const __m256 two = _mm256_add_ps(_mm512_castps512_ps256(four), _mm512_extractf32x8_ps(four, 1));
    return _mm_add_ps(_mm256_castps256_ps128(two), _mm256_extractf128_ps(two, 1));
  }

  static constexpr size_t lanes = 16;
  static __m512 minus_infinity() { return _mm512_set1_ps(-__builtin_inff()); }
  static __m512 larger(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }
  static void store(float* p, __m512 a) { _mm512_storeu_ps(p, a); }

  /// D - half_norms of the rows from `row` on, -inf past the last one.
  static __m512 differences(const ScanArgs* args, const float* dots, size_t row) {
    return _mm512_mask_sub_ps(minus_infinity(), lanes_below(args->rows, row), _mm512_loadu_ps(dots + row),
                              _mm512_loadu_ps(args->half_norms + row));
  }

  static constexpr size_t abandon_rows = 8;

  static size_t keep(const ScanArgs* args, const AbandonArgs& plan, float rest, HopefulRows& hopeful, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i += 16) {
      const __m512i rows = _mm512_maskz_loadu_epi32(lanes_below(count, i), hopeful.rows + i);
      const __m512 dots = _mm512_loadu_ps(hopeful.dots + i), squares = _mm512_loadu_ps(hopeful.squares + i);
      const __m512 norms = _mm512_i32gather_ps(rows, plan.norms, 4);
      const __m512 half_norms = _mm512_i32gather_ps(rows, args->half_norms, 4);
      const __m512 bounds = _mm512_i32gather_ps(_mm512_srli_epi32(rows, 5), hopeful.bounds, 4);
      const __m512 left =
          _mm512_fmadd_ps(norms, _mm512_set1_ps(plan.scale), _mm512_sub_ps(_mm512_set1_ps(abandon_spare), squares));
      const __m512 longest = _mm512_sqrt_ps(_mm512_max_ps(left, _mm512_setzero_ps()));
      const __m512 most = _mm512_fmadd_ps(longest, _mm512_set1_ps(rest), dots);
      const __mmask16 keep =
          _mm512_mask_cmp_ps_mask(lanes_below(count, i), _mm512_sub_ps(most, half_norms), bounds, _CMP_NLT_UQ);
      _mm512_storeu_si512(hopeful.rows + kept, _mm512_maskz_compress_epi32(keep, rows));
      _mm512_storeu_ps(hopeful.dots + kept, _mm512_maskz_compress_ps(keep, dots));
      _mm512_storeu_ps(hopeful.squares + kept, _mm512_maskz_compress_ps(keep, squares));
      kept += static_cast<size_t>(__builtin_popcount(keep));
    }
    return kept;
  }

  static size_t select(const ScanArgs* args, size_t first, size_t rows, size_t query, const float* values, float bound,
                       size_t found) {
    const __m512i row_tags = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                                _mm512_set1_epi32(static_cast<int>(max_tile)));
    for (size_t r = 0; r < rows; r += 16) {
      const __m512 dots = _mm512_loadu_ps(values + r);
      const __m512 difference = _mm512_sub_ps(dots, _mm512_loadu_ps(args->half_norms + first + r));
      const __mmask16 keep =
          _mm512_mask_cmp_ps_mask(lanes_below(rows, r), difference, _mm512_set1_ps(bound), _CMP_NLT_UQ);
      if (keep == 0) continue;
      const __m512i tags =
          _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>((first + r) * max_tile + query)), row_tags);
      // Compressing in a register and storing whole vectors, as append() does.
      _mm512_storeu_ps(args->dots + found, _mm512_maskz_compress_ps(keep, dots));
      _mm512_storeu_si512(args->tags + found, _mm512_maskz_compress_epi32(keep, tags));
      found += static_cast<size_t>(__builtin_popcount(keep));
    }
    return found;
  }
};

}  // namespace
}  // namespace ivf::detail::cpu

#pragma once
/// \file
/// What the AVX-512 levels (AMX among them) share. Included only by files compiled for AVX-512; everything has internal
/// linkage.

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/cpu/kernels.h"

namespace ivf::detail::cpu {
namespace {

/// Mask of the lanes first .. first+15 that lie below `count`.
inline __mmask16 lanes_below(size_t count, size_t first) {
  if (count <= first) return 0;
  return count - first >= 16 ? __mmask16{0xffff} : static_cast<__mmask16>((1u << (count - first)) - 1);
}

/// Appends the kept lanes of one row as survivors. Compressing in a register and storing whole vectors: the compressing
/// store is microcoded on some CPUs.
inline size_t append(__m512 dots, __mmask16 keep, uint32_t tag, const ScanArgs* args, size_t found) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i tags = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(tag)), lanes);
  _mm512_storeu_ps(args->dots + found, _mm512_maskz_compress_ps(keep, dots));
  _mm512_storeu_si512(args->tags + found, _mm512_maskz_compress_epi32(keep, tags));
  return found + static_cast<size_t>(__builtin_popcount(keep));
}

/// The part of 16 queries' discard bounds that does not depend on the row: t - (kappa * norm + slop).
inline __m512 block_bound(const ScanArgs* args, size_t block, size_t first_lane) {
  const __m512 slack =
      _mm512_fmadd_ps(_mm512_loadu_ps(args->kappa + first_lane), _mm512_set1_ps(args->block_norms[block]),
                      _mm512_set1_ps(args->block_slops[block]));
  return _mm512_sub_ps(_mm512_loadu_ps(args->t + first_lane), slack);
}

}  // namespace
}  // namespace ivf::detail::cpu

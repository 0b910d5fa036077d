#pragma once
/// \file
/// Queries as the levels want them that multiply pairs of bf16 numbers (AVX512-BF16, AMX). Included only by files
/// compiled for AVX-512; everything has internal linkage.

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/cpu/avx512_select.h"
#include "backends/cpu/kernels.h"

namespace ivf::detail::cpu {
namespace {

constexpr size_t tile_k = 32;        // Dimensions of a chunk.
constexpr size_t tile_bytes = 1024;  // A chunk of 16 queries: 16 pairs of dimensions, 64 bytes each.

size_t chunks(size_t d) { return (d + tile_k - 1) / tile_k; }

size_t prepared_bytes(size_t d) { return chunks(d) * tile_k * sizeof(uint16_t); }
template <size_t tile>
size_t packed_bytes(size_t d) {
  return chunks(d) * (tile / 16) * tile_bytes;
}

void prepare(const float* query, size_t d, void* prepared) {
  const __m512i half = _mm512_set1_epi32(0x8000);
  uint16_t* out = static_cast<uint16_t*>(prepared);
  const size_t padded = chunks(d) * tile_k;
  for (size_t i = 0; i < padded; i += 16) {
    const __mmask16 live = lanes_below(d, i);
    const __m512i bits = _mm512_maskz_loadu_epi32(live, query + i);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i),
                        _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_add_epi32(bits, half), 16)));
  }
}

/// Four 128-bit quarters from rows r, r+4, r+8, r+12 side by side.
__m512i load_quarters(const char* const* rows, size_t r, size_t offset) {
  const auto quarter = [&](size_t row) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[row] + offset));
  };
  __m512i v = _mm512_castsi128_si512(quarter(r));
  v = _mm512_inserti32x4(v, quarter(r + 4), 1);
  v = _mm512_inserti32x4(v, quarter(r + 8), 2);
  return _mm512_inserti32x4(v, quarter(r + 12), 3);
}

/// Transposes 16 rows of 16 32-bit pairs (64 bytes at `offset` of each): out[p][n] = rows[n][p].
void transpose_pairs(const char* const* rows, size_t offset, char* out) {
  for (size_t quarter = 0; quarter < 4; ++quarter) {
    const size_t at = offset + quarter * 16;
    // Lane group g of v[i] is the quarter of row 4*g+i: a 4x4 transposition inside each lane group is all that is left.
    const __m512i v0 = load_quarters(rows, 0, at), v1 = load_quarters(rows, 1, at);
    const __m512i v2 = load_quarters(rows, 2, at), v3 = load_quarters(rows, 3, at);
    const __m512i a = _mm512_unpacklo_epi32(v0, v1), b = _mm512_unpackhi_epi32(v0, v1);
    const __m512i c = _mm512_unpacklo_epi32(v2, v3), e = _mm512_unpackhi_epi32(v2, v3);
    char* row = out + quarter * 4 * 64;
    _mm512_storeu_si512(row, _mm512_unpacklo_epi64(a, c));
    _mm512_storeu_si512(row + 64, _mm512_unpackhi_epi64(a, c));
    _mm512_storeu_si512(row + 128, _mm512_unpacklo_epi64(b, e));
    _mm512_storeu_si512(row + 192, _mm512_unpackhi_epi64(b, e));
  }
}

// Two groups of 16 queries are multiplied together and lie together: chunk c of group g is the tile at
// (g / 2 * chunks + c) * 2 + g % 2, whose row p holds dimensions 2p and 2p+1 of the 16 queries.
void pack(const void* const* prepared, size_t nq, size_t d, void* packed) {
  alignas(64) static const char zeros[64] = {};
  char* out = static_cast<char*>(packed);
  for (size_t group = 0; group * 16 < nq; ++group) {
    for (size_t c = 0; c < chunks(d); ++c) {
      const char* rows[16];
      for (size_t n = 0; n < 16; ++n) {
        const size_t q = group * 16 + n;
        rows[n] = q < nq ? static_cast<const char*>(prepared[q]) + c * tile_k * sizeof(uint16_t) : zeros;
      }
      transpose_pairs(rows, 0, out + ((group / 2 * chunks(d) + c) * 2 + group % 2) * tile_bytes);
    }
  }
}

}  // namespace
}  // namespace ivf::detail::cpu

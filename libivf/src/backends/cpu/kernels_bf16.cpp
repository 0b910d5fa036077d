// AVX512-BF16: products of bf16 pairs, added to float32. The hi plane is read where it lies.
//
// vdpbf16ps takes two bf16 numbers a lane of each operand: a lane of the queries holds dimensions 2p and 2p+1 of one
// query, and a row's pair is broadcast to all lanes. Products are exact unless they underflow; every addition rounds to
// nearest, ties to even; denormal inputs and results count as zero, whatever MXCSR says. The error is that of the tile
// products of AMX, and docs/numerics.md bounds both together.

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backends/cpu/avx512_blocks.h"
#include "backends/cpu/bf16_queries.h"
#include "backends/cpu/kernels.h"

namespace ivf::detail::cpu {
namespace {

// Rows are never copied: loads of 32 bits do not suffer where rows do not start on cache lines.
bool direct(const uint16_t*, size_t) { return true; }
size_t staged_bytes(size_t d) { return d * sizeof(uint16_t); }
void stage(const uint16_t* hi, size_t rows, size_t d, void* staged) { memcpy(staged, hi, rows * d * sizeof(uint16_t)); }

/// Dimensions i and i+1 of a row in every lane.
__m512bh row_pair(const uint16_t* x) {
  int pair;
  memcpy(&pair, x, sizeof pair);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
}

/// Pair p of the 16 queries of group v: see pack().
__m512bh query_pairs(const char* packed, size_t p, size_t v) {
  constexpr size_t pairs = tile_k / 2;
  return reinterpret_cast<__m512bh>(_mm512_loadu_si512(packed + (p / pairs * 2 + v) * tile_bytes + p % pairs * 64));
}

constexpr size_t tile = 32;  // Two vectors of 16 queries.

struct Bf16 {
  static constexpr size_t tile = cpu::tile;

  template <size_t group, size_t vectors>
  static void multiply(const ScanArgs* args, size_t first, __m512 (&sums)[group][vectors]) {
    const size_t d = args->d;
    const uint16_t* rows = static_cast<const uint16_t*>(args->rows_data) + first * d;
    const char* packed = static_cast<const char*>(args->packed);
    for (size_t r = 0; r < group; ++r) {
      for (size_t v = 0; v < vectors; ++v) sums[r][v] = _mm512_setzero_ps();
    }
    for (size_t p = 0; p < d / 2; ++p) {
      __m512bh q[vectors];
      for (size_t v = 0; v < vectors; ++v) q[v] = query_pairs(packed, p, v);
      for (size_t r = 0; r < group; ++r) {
        const __m512bh x = row_pair(rows + r * d + 2 * p);
        for (size_t v = 0; v < vectors; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], q[v], x);
      }
    }
    if (d % 2 == 0) return;
    // The other half of the pair would be the next row's, and an infinity there would spoil this one.
    for (size_t r = 0; r < group; ++r) {
      const uint16_t x[2] = {rows[r * d + d - 1], 0};
      for (size_t v = 0; v < vectors; ++v) {
        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], query_pairs(packed, d / 2, v), row_pair(x));
      }
    }
  }
};

}  // namespace

const ScanKernels scan_bf16 = {tile,
                               true,
                               prepared_bytes,
                               prepare,
                               packed_bytes<tile>,
                               staged_bytes,
                               stage,
                               direct,
                               pack,
                               Blocks<Bf16>::scan,
                               Blocks<Bf16>::maxima};

}  // namespace ivf::detail::cpu

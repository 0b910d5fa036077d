// AMX-BF16: the hi plane is the left operand of the tile product as it lies in the file, the queries are packed as the
// right one.
//
// C[row][query] += A[row][k] * B[k][query] for 16 rows, 16 queries and 32 dimensions an instruction. Products of bf16
// values are exact in float32 unless they underflow; sums round to nearest, denormal inputs and results count as zero.
// The error is within gamma_d = d * 2^-24 of the sum of magnitudes for any order of additions, plus the flushed
// denormals, which docs/numerics.md bounds.

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/cpu/avx512_select.h"
#include "backends/cpu/bf16_queries.h"
#include "backends/cpu/kernels.h"

namespace ivf::detail::cpu {
namespace {

constexpr size_t tile_rows = 16;

// Tile loads that cross cache lines cost many times the aligned ones (measured: 3.4 times for a whole scan at d = 128),
// so rows that do not lie on 64-byte boundaries are copied: chunk c of the 16 rows from 16*g on is the tile at g *
// chunks + c.
size_t staged_bytes(size_t d) { return chunks(d) * 64; }
bool direct(const uint16_t* hi, size_t d) { return d % tile_k == 0 && reinterpret_cast<uintptr_t>(hi) % 64 == 0; }

void stage(const uint16_t* hi, size_t rows, size_t d, void* staged) {
  char* out = static_cast<char*>(staged);
  for (size_t r = 0; r < rows; ++r) {
    char* row = out + (r / tile_rows * chunks(d) * tile_rows + r % tile_rows) * 64;
    const uint16_t* x = hi + r * d;
    size_t i = 0;
    for (; i + tile_k <= d; i += tile_k, row += tile_bytes) _mm512_store_si512(row, _mm512_loadu_si512(x + i));
    if (i < d) {
      const __mmask32 live = (uint32_t{1} << (d - i)) - 1;
      _mm512_store_si512(row, _mm512_maskz_loadu_epi16(live, x + i));
    }
  }
}

// Tiles 0-3: products; 4, 5: rows; 6, 7: queries. A constant in memory, because the intrinsic tells the compiler of the
// first eight bytes only: stores to the rest of a local would be dropped.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
const TileConfig tile_config;

/// Where the tiles of rows lie: at base + group * group_step + chunk * chunk_step, 16 rows `row_step` bytes apart.
struct RowTiles {
  const char* base;
  size_t group_step, chunk_step, row_step;
};

/// Products of 32 rows (from 16-row group `group` on) and 16 * query_tiles queries, stored as products[row][32].
template <size_t query_tiles>
void multiply(const RowTiles& rows, size_t group, const char* packed, size_t count, float* products) {
  const char* upper = rows.base + group * rows.group_step;
  const char* lower = upper + rows.group_step;
  _tile_zero(0);
  _tile_zero(2);
  if constexpr (query_tiles == 2) {
    _tile_zero(1);
    _tile_zero(3);
  }
  for (size_t c = 0; c < count; ++c) {
    _tile_loadd(4, upper + c * rows.chunk_step, rows.row_step);
    _tile_loadd(6, packed + c * 2 * tile_bytes, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, lower + c * rows.chunk_step, rows.row_step);
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (query_tiles == 2) {
      _tile_loadd(7, packed + (c * 2 + 1) * tile_bytes, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, products, 128);
  _tile_stored(2, products + 16 * 32, 128);
  if constexpr (query_tiles == 2) {
    _tile_stored(1, products + 16, 128);
    _tile_stored(3, products + 16 * 32 + 16, 128);
  }
}

/// Compares the products of `rows` (at most 32) rows from `first` on with the thresholds.
template <size_t query_tiles>
size_t select(const ScanArgs* args, size_t first, size_t rows, const float* products, size_t found) {
  const size_t block = first / scan_block_rows;
  const float* half_norms = args->half_norms + first;
  __m512 bound[query_tiles];
  __mmask16 live[query_tiles];
  for (size_t v = 0; v < query_tiles; ++v) {
    bound[v] = block_bound(args, block, v * 16);
    live[v] = lanes_below(args->nq, v * 16);
  }
  // Survivors are rare once thresholds are tight: one comparison of the largest difference answers for the whole block.
  // The maximum may lose a NaN, but products are NaN only where a norm is so large that the bound is -inf and all pass.
  __m512 largest[query_tiles][2];
  for (size_t v = 0; v < query_tiles; ++v) {
    largest[v][0] = largest[v][1] = _mm512_set1_ps(-__builtin_inff());
  }
  for (size_t r = 0; r < rows; ++r) {
    const __m512 half = _mm512_set1_ps(half_norms[r]);
    for (size_t v = 0; v < query_tiles; ++v) {
      const __m512 difference = _mm512_sub_ps(_mm512_load_ps(products + r * 32 + v * 16), half);
      largest[v][r % 2] = _mm512_max_ps(largest[v][r % 2], difference);
    }
  }
  unsigned any = 0;
  for (size_t v = 0; v < query_tiles; ++v) {
    any |= _mm512_mask_cmp_ps_mask(live[v], _mm512_max_ps(largest[v][0], largest[v][1]), bound[v], _CMP_NLT_UQ);
  }
  if (any == 0) return found;
  for (size_t r = 0; r < rows; ++r) {
    const __m512 half = _mm512_set1_ps(half_norms[r]);
    for (size_t v = 0; v < query_tiles; ++v) {
      const __m512 dots = _mm512_load_ps(products + r * 32 + v * 16);
      const __mmask16 keep = _mm512_mask_cmp_ps_mask(live[v], _mm512_sub_ps(dots, half), bound[v], _CMP_NLT_UQ);
      if (keep != 0) found = append(dots, keep, static_cast<uint32_t>((first + r) * max_tile + v * 16), args, found);
    }
  }
  return found;
}

/// Fetches the rows of a block, read in place, two blocks ahead: tile loads jump from row to row, which the hardware's
/// prefetchers do not follow.
void prefetch_block(const ScanArgs* args, size_t row) {
  const size_t stride = args->d * sizeof(uint16_t), end = args->rows * stride;
  const char* rows = static_cast<const char*>(args->rows_data);
  for (size_t at = row * stride; at < end && at < (row + scan_block_rows) * stride; at += 64) {
    _mm_prefetch(rows + at, _MM_HINT_T0);
  }
}

/// Multiplies all rows: consume(first row, rows, products), blocks of 32 in order. Two buffers: the tiles of a block
/// are multiplied while the vector units look at the products of the one before.
template <size_t query_tiles, class Consume>
void multiply_rows(const ScanArgs* args, const Consume& consume) {
  const size_t count = chunks(args->d), stride = args->d * sizeof(uint16_t);
  const char* packed = static_cast<const char*>(args->packed);
  const char* base = static_cast<const char*>(args->rows_data);
  const RowTiles tiles = args->staged ? RowTiles{base, count * tile_bytes, tile_bytes, 64}
                                      : RowTiles{base, tile_rows * stride, tile_k * sizeof(uint16_t), stride};
  const bool prefetch = args->prefetch && !args->staged;
  float* products[2] = {static_cast<float*>(args->scratch), static_cast<float*>(args->scratch) + 32 * 32};
  if (prefetch) prefetch_block(args, 0);
  if (prefetch) prefetch_block(args, scan_block_rows);
  size_t row = 0;
  for (; row < args->rows; row += scan_block_rows) {
    if (prefetch) prefetch_block(args, row + 2 * scan_block_rows);
    multiply<query_tiles>(tiles, row / tile_rows, packed, count, products[row / scan_block_rows % 2]);
    if (row == 0) continue;
    const size_t last = row - scan_block_rows;
    consume(last, scan_block_rows, products[last / scan_block_rows % 2]);
  }
  const size_t last = row - scan_block_rows;
  consume(last, args->rows - last, products[last / scan_block_rows % 2]);
}

template <size_t query_tiles>
size_t scan_tiles(const ScanArgs* args) {
  size_t found = 0;
  multiply_rows<query_tiles>(args, [args, &found](size_t first, size_t rows, const float* products) {
    found = select<query_tiles>(args, first, rows, products, found);
  });
  return found;
}

size_t scan(const ScanArgs* args) {
  _tile_loadconfig(&tile_config);
  const size_t found = args->nq <= 16 ? scan_tiles<1>(args) : scan_tiles<2>(args);
  _tile_release();
  return found;
}

template <size_t query_tiles>
void maxima_tiles(const ScanArgs* args, float* largest) {
  multiply_rows<query_tiles>(args, [args, largest](size_t first, size_t rows, const float* products) {
    for (size_t group = 0; group < rows; group += maxima_rows) {
      float* out = largest + (first + group) / maxima_rows * tile;
      for (size_t v = 0; v < query_tiles; ++v) {
        __m512 best = _mm512_set1_ps(-__builtin_inff());
        for (size_t r = group; r < rows && r < group + maxima_rows; ++r) {
          const __m512 half = _mm512_set1_ps(args->half_norms[first + r]);
          best = _mm512_max_ps(best, _mm512_sub_ps(_mm512_load_ps(products + r * 32 + v * 16), half));
        }
        _mm512_storeu_ps(out + v * 16, best);
      }
    }
  });
}

void maxima(const ScanArgs* args, float* largest) {
  _tile_loadconfig(&tile_config);
  if (args->nq <= 16) {
    maxima_tiles<1>(args, largest);
  } else {
    maxima_tiles<2>(args, largest);
  }
  _tile_release();
}

}  // namespace

const ScanKernels scan_amx = {tile,  true,   prepared_bytes, prepare, packed_bytes, staged_bytes,
                              stage, direct, pack,           scan,    maxima};

}  // namespace ivf::detail::cpu

// AMX-BF16: the hi plane is the left operand of the tile product as it lies in the file, the queries are packed as the right one.
//
// C[row][query] += A[row][k] * B[k][query] for 16 rows, 16 queries and 32 dimensions an instruction. Products of bf16 values
// are exact in float32 unless they underflow; sums round to nearest, denormal inputs and results count as zero. The error is
// within gamma_d = d * 2^-24 of the sum of magnitudes for any order of additions, plus the flushed denormals, which
// docs/numerics.md bounds.

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backends/cpu/avx512_select.h"
#include "backends/cpu/kernels.h"

namespace ivf::detail::cpu {
namespace {

constexpr size_t tile = 32;        // Two tiles of 16 queries.
constexpr size_t tile_k = 32;      // Dimensions a tile product consumes.
constexpr size_t tile_rows = 16;
constexpr size_t tile_bytes = 1024;

size_t chunks(size_t d) { return (d + tile_k - 1) / tile_k; }

size_t prepared_bytes(size_t d) { return chunks(d) * tile_k * sizeof(uint16_t); }
size_t packed_bytes(size_t d) { return chunks(d) * 2 * tile_bytes; }
// The products of 32 rows and 32 queries, and a copy of up to 16 rows at the very end of a plane.
size_t scratch_bytes(size_t d) { return 4 * tile_bytes + tile_rows * d * sizeof(uint16_t) + 64; }

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
  const auto quarter = [&](size_t row) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[row] + offset)); };
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

// Chunk c of query group g is the tile at (c * 2 + g): row p holds dimensions 2p and 2p+1 of the 16 queries.
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
      transpose_pairs(rows, 0, out + (c * 2 + group) * tile_bytes);
    }
  }
}

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Tiles 0-3: products; 4, 5: rows; 6, 7: queries.
void configure() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = 64;
    config.rows[i] = 16;
  }
  _tile_loadconfig(&config);
}

/// Products of 16 * row_tiles rows and 16 * query_tiles queries, stored as products[row][32].
template <size_t row_tiles, size_t query_tiles>
void multiply(const uint16_t* hi, size_t stride, const char* packed, size_t count, float* products) {
  _tile_zero(0);
  if constexpr (query_tiles == 2) _tile_zero(1);
  if constexpr (row_tiles == 2) {
    _tile_zero(2);
    if constexpr (query_tiles == 2) _tile_zero(3);
  }
  for (size_t c = 0; c < count; ++c) {
    _tile_loadd(4, hi + c * tile_k, stride);
    _tile_loadd(6, packed + c * 2 * tile_bytes, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (query_tiles == 2) {
      _tile_loadd(7, packed + (c * 2 + 1) * tile_bytes, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (row_tiles == 2) {
      _tile_loadd(5, reinterpret_cast<const char*>(hi + c * tile_k) + 16 * stride, stride);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (query_tiles == 2) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, products, 128);
  if constexpr (query_tiles == 2) _tile_stored(1, products + 16, 128);
  if constexpr (row_tiles == 2) {
    _tile_stored(2, products + 16 * 32, 128);
    if constexpr (query_tiles == 2) _tile_stored(3, products + 16 * 32 + 16, 128);
  }
}

/// Compares the products of `rows` (at most 32) rows from `first` on with the thresholds.
template <size_t query_tiles>
size_t select(const ScanArgs* args, size_t first, size_t rows, const float* products, size_t found) {
  const size_t block = first / scan_block_rows;
  __m512 bound[query_tiles];
  __mmask16 live[query_tiles];
  for (size_t v = 0; v < query_tiles; ++v) {
    bound[v] = block_bound(args, block, v * 16);
    live[v] = lanes_below(args->nq, v * 16);
  }
  // Survivors are rare once thresholds are tight: first find the rows that have any, then look at those alone.
  uint32_t rows_hit = 0;
  for (size_t r = 0; r < rows; ++r) {
    const __m512 half = _mm512_set1_ps(args->half_norms[first + r]);
    uint32_t any = 0;
    for (size_t v = 0; v < query_tiles; ++v) {
      any |= _mm512_cmp_ps_mask(_mm512_loadu_ps(products + r * 32 + v * 16), _mm512_add_ps(half, bound[v]), _CMP_NLT_UQ) & live[v];
    }
    rows_hit |= static_cast<uint32_t>(any != 0) << r;
  }
  for (; rows_hit != 0; rows_hit &= rows_hit - 1) {
    const size_t r = static_cast<size_t>(__builtin_ctz(rows_hit));
    const __m512 half = _mm512_set1_ps(args->half_norms[first + r]);
    for (size_t v = 0; v < query_tiles; ++v) {
      const __m512 dots = _mm512_loadu_ps(products + r * 32 + v * 16);
      const __mmask16 keep = _mm512_mask_cmp_ps_mask(live[v], dots, _mm512_add_ps(half, bound[v]), _CMP_NLT_UQ);
      if (keep != 0) found = append(dots, keep, static_cast<uint32_t>((first + r) * max_tile + v * 16), args, found);
    }
  }
  return found;
}

template <size_t query_tiles>
size_t scan_rows(const ScanArgs* args) {
  const size_t d = args->d, count = chunks(d), stride = d * sizeof(uint16_t);
  const char* packed = static_cast<const char*>(args->packed);
  float* products = static_cast<float*>(args->scratch);
  uint16_t* copy = reinterpret_cast<uint16_t*>(static_cast<char*>(args->scratch) + 4 * tile_bytes);
  size_t found = 0;
  for (size_t row = 0; row < args->rows; row += scan_block_rows) {
    const size_t rows = args->rows - row < scan_block_rows ? args->rows - row : scan_block_rows;
    if (rows > tile_rows && row + scan_block_rows <= args->rows_readable) {
      multiply<2, query_tiles>(args->hi + row * d, stride, packed, count, products);
    } else {
      for (size_t part = 0; part < rows; part += tile_rows) {
        const uint16_t* hi = args->hi + (row + part) * d;
        if (row + part + tile_rows > args->rows_readable) {
          memcpy(copy, hi, (rows - part) * stride);
          hi = copy;
        }
        multiply<1, query_tiles>(hi, stride, packed, count, products + part * 32);
      }
    }
    found = select<query_tiles>(args, row, rows, products, found);
  }
  return found;
}

size_t scan(const ScanArgs* args) {
  configure();
  const size_t found = args->nq <= 16 ? scan_rows<1>(args) : scan_rows<2>(args);
  _tile_release();
  return found;
}

}  // namespace

const ScanKernels scan_amx = {tile, true, prepared_bytes, prepare, packed_bytes, scratch_bytes, pack, scan};

}  // namespace ivf::detail::cpu

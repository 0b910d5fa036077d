// AVX-512 F, BW, VL and DQ: canonical arithmetic with eight double lanes, and a float32 filter over the expanded hi
// plane.

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backends/cpu/avx512_blocks.h"
#include "backends/cpu/avx512_select.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/kth_largest.h"

namespace ivf::detail::cpu {
namespace {

// ---------------------------------------------------------------------------------------------- rows

bool split(const float* rows, size_t count, uint16_t* hi, uint16_t* lo) {
  const __m512i half = _mm512_set1_epi32(0x8000);
  __m512i seen = _mm512_setzero_si512();
  for (size_t i = 0; i < count; i += 16) {
    const __mmask16 live = lanes_below(count, i);
    const __m512i bits = _mm512_maskz_loadu_epi32(live, rows + i);
    const __m512i high = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
    _mm256_mask_storeu_epi16(hi + i, live, _mm512_cvtepi32_epi16(high));
    _mm256_mask_storeu_epi16(lo + i, live, _mm512_cvtepi32_epi16(bits));
    seen = _mm512_or_si512(seen, bits);
  }
  return (static_cast<uint32_t>(_mm512_reduce_or_epi32(seen)) & 0xffffu) == 0;
}

__m512i joined16(__m256i hi, __m256i lo) {
  return _mm512_add_epi32(_mm512_slli_epi32(_mm512_cvtepu16_epi32(hi), 16), _mm512_cvtepi16_epi32(lo));
}

void join(const uint16_t* hi, const uint16_t* lo, size_t count, float* rows) {
  for (size_t i = 0; i < count; i += 16) {
    const __mmask16 live = lanes_below(count, i);
    const __m256i h = _mm256_maskz_loadu_epi16(live, hi + i);
    const __m256i l = lo == nullptr ? _mm256_setzero_si256() : _mm256_maskz_loadu_epi16(live, lo + i);
    _mm512_mask_storeu_epi32(rows + i, live, joined16(h, l));
  }
}

// ((a0+a4)+(a2+a6)) + ((a1+a5)+(a3+a7))
double tree(__m512d a) {
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

__mmask8 tail_mask(size_t left) { return left >= 8 ? __mmask8{0xff} : static_cast<__mmask8>((1u << left) - 1); }

// Masked-off lanes add fma(0, 0, a) = a: an accumulator is never -0, so that is no change at all.
double self_dot(const float* x, size_t d) {
  __m512d a = _mm512_setzero_pd();
  for (size_t i = 0; i < d; i += 8) {
    const __m512d v = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(tail_mask(d - i), x + i));
    a = _mm512_fmadd_pd(v, v, a);
  }
  return tree(a);
}

void residual(const float* x, size_t d, double* residual_sum, double* norm_sum) {
  const __m256i half = _mm256_set1_epi32(0x8000), high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  __m512d r = _mm512_setzero_pd(), n = _mm512_setzero_pd();
  for (size_t i = 0; i < d; i += 8) {
    const __m256 v = _mm256_maskz_loadu_ps(tail_mask(d - i), x + i);
    const __m256i rounded = _mm256_and_si256(_mm256_add_epi32(_mm256_castps_si256(v), half), high);
    const __m512d exact = _mm512_cvtps_pd(v);
    const __m512d t = _mm512_sub_pd(exact, _mm512_cvtps_pd(_mm256_castsi256_ps(rounded)));
    r = _mm512_fmadd_pd(t, t, r);
    n = _mm512_fmadd_pd(exact, exact, n);
  }
  *residual_sum = tree(r);
  *norm_sum = tree(n);
}

template <bool has_lo, bool masked>
__m512d load_row(const uint16_t* hi, const uint16_t* lo, __mmask8 live) {
  const __m128i h = masked ? _mm_maskz_loadu_epi16(live, hi) : _mm_loadu_si128(reinterpret_cast<const __m128i*>(hi));
  __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16);
  if (has_lo) {
    const __m128i l = masked ? _mm_maskz_loadu_epi16(live, lo) : _mm_loadu_si128(reinterpret_cast<const __m128i*>(lo));
    bits = _mm256_add_epi32(bits, _mm256_cvtepi16_epi32(l));
  }
  return _mm512_cvtps_pd(_mm256_castsi256_ps(bits));
}

template <bool inner_product>
__m512d accumulate(__m512d q, __m512d x, __m512d a) {
  if (inner_product) return _mm512_fmadd_pd(q, x, a);
  const __m512d t = _mm512_sub_pd(q, x);
  return _mm512_fmadd_pd(t, t, a);
}

template <bool inner_product, size_t width>
void pair_rows(const PairArgs* args, size_t first) {
  __m512d a[width];
  for (size_t r = 0; r < width; ++r) a[r] = _mm512_setzero_pd();
  size_t i = 0;
  for (; i + 8 <= args->d; i += 8) {
    for (size_t r = 0; r < width; ++r) {
      a[r] = accumulate<inner_product>(_mm512_cvtps_pd(_mm256_loadu_ps(args->left[first + r] + i)),
                                       _mm512_cvtps_pd(_mm256_loadu_ps(args->right[first + r] + i)), a[r]);
    }
  }
  if (i < args->d) {
    const __mmask8 live = tail_mask(args->d - i);
    for (size_t r = 0; r < width; ++r) {
      a[r] = accumulate<inner_product>(_mm512_cvtps_pd(_mm256_maskz_loadu_ps(live, args->left[first + r] + i)),
                                       _mm512_cvtps_pd(_mm256_maskz_loadu_ps(live, args->right[first + r] + i)), a[r]);
    }
  }
  for (size_t r = 0; r < width; ++r) args->values[first + r] = static_cast<float>(tree(a[r]));
}

template <bool inner_product>
void pairs(const PairArgs* args) {
  constexpr size_t width = 4;
  size_t r = 0;
  for (; r + width <= args->count; r += width) pair_rows<inner_product, width>(args, r);
  for (; r < args->count; ++r) pair_rows<inner_product, 1>(args, r);
}

// `width` rows at a time hide the latency of one accumulator's chain of additions.
template <bool inner_product, bool has_lo, size_t width>
void refine_rows(const RefineArgs* args, size_t first) {
  const uint16_t* hi[width];
  const uint16_t* lo[width];
  __m512d a[width];
  for (size_t r = 0; r < width; ++r) {
    hi[r] = args->hi + args->rows[first + r] * args->d;
    // Without a lo plane any address will do that offsets can be added to: it is not read.
    lo[r] = has_lo ? args->lo + args->rows[first + r] * args->d : hi[r];
    a[r] = _mm512_setzero_pd();
  }
  size_t i = 0;
  for (; i + 8 <= args->d; i += 8) {
    const __m512d q = _mm512_cvtps_pd(_mm256_loadu_ps(args->query + i));
    for (size_t r = 0; r < width; ++r) {
      a[r] = accumulate<inner_product>(q, load_row<has_lo, false>(hi[r] + i, lo[r] + i, 0xff), a[r]);
    }
  }
  if (i < args->d) {
    const __mmask8 live = tail_mask(args->d - i);
    const __m512d q = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(live, args->query + i));
    for (size_t r = 0; r < width; ++r) {
      a[r] = accumulate<inner_product>(q, load_row<has_lo, true>(hi[r] + i, lo[r] + i, live), a[r]);
    }
  }
  for (size_t r = 0; r < width; ++r) args->values[first + r] = static_cast<float>(tree(a[r]));
}

template <bool has_lo>
void prefetch_row(const RefineArgs* args, size_t r) {
  // The hardware follows a row once it has seen its first lines.
  const size_t bytes = args->d * sizeof(uint16_t) < 512 ? args->d * sizeof(uint16_t) : 512;
  const char* hi = reinterpret_cast<const char*>(args->hi + args->rows[r] * args->d);
  for (size_t b = 0; b < bytes; b += 64) _mm_prefetch(hi + b, _MM_HINT_T0);
  if (has_lo) {
    const char* lo = reinterpret_cast<const char*>(args->lo + args->rows[r] * args->d);
    for (size_t b = 0; b < bytes; b += 64) _mm_prefetch(lo + b, _MM_HINT_T0);
  }
}

template <bool inner_product, bool has_lo>
void refine_planes(const RefineArgs* args) {
  constexpr size_t width = 4, ahead = 8;
  for (size_t r = 0; r < args->count && r < ahead; ++r) prefetch_row<has_lo>(args, r);
  size_t r = 0;
  for (; r + width <= args->count; r += width) {
    for (size_t next = r + ahead; next < args->count && next < r + ahead + width; ++next)
      prefetch_row<has_lo>(args, next);
    refine_rows<inner_product, has_lo, width>(args, r);
  }
  for (; r < args->count; ++r) refine_rows<inner_product, has_lo, 1>(args, r);
}

template <bool inner_product>
void refine(const RefineArgs* args) {
  if (args->lo == nullptr) {
    refine_planes<inner_product, false>(args);
  } else {
    refine_planes<inner_product, true>(args);
  }
}

// ---------------------------------------------------------------------------------------------- scan
//
// Queries are packed k-major, 32 lanes a dimension: packed[k][32]. Rows are staged as float32, and every
// dimension broadcasts one value a row against the two query vectors. The sum of a lane is a chain of d fused
// additions: its error is within the bound gamma_d = d * 2^-24 of docs/numerics.md.

constexpr size_t tile = 32;

size_t prepared_bytes(size_t d) { return d * sizeof(float); }
size_t packed_bytes(size_t d) { return tile * d * sizeof(float); }
size_t staged_stride(size_t d) { return (d + 15) / 16 * 16; }
size_t staged_bytes(size_t d) { return staged_stride(d) * sizeof(float); }
bool direct(const uint16_t*, size_t) { return false; }

void stage(const uint16_t* hi, size_t rows, size_t d, void* staged) {
  for (size_t r = 0; r < rows; ++r) {
    float* out = static_cast<float*>(staged) + r * staged_stride(d);
    for (size_t i = 0; i < d; i += 16) {
      const __m256i x = _mm256_maskz_loadu_epi16(lanes_below(d, i), hi + r * d + i);
      _mm512_storeu_si512(out + i, _mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
    }
  }
}

void prepare(const float* query, size_t d, void* prepared) { memcpy(prepared, query, d * sizeof(float)); }

void pack(const void* const* prepared, size_t nq, size_t d, void* packed) {
  float* out = static_cast<float*>(packed);
  for (size_t q = 0; q < tile; ++q) {
    const float* query = q < nq ? static_cast<const float*>(prepared[q]) : nullptr;
    for (size_t i = 0; i < d; ++i) out[i * tile + q] = query == nullptr ? 0.0f : query[i];
  }
}

struct Avx512 {
  static constexpr size_t tile = cpu::tile;

  template <size_t group, size_t vectors>
  static void multiply(const ScanArgs* args, size_t first, __m512 (&sums)[group][vectors]) {
    const size_t d = args->d, stride = staged_stride(d);
    const float* rows = static_cast<const float*>(args->rows_data) + first * stride;
    const float* queries = static_cast<const float*>(args->packed);
    for (size_t r = 0; r < group; ++r) {
      for (size_t v = 0; v < vectors; ++v) sums[r][v] = _mm512_setzero_ps();
    }
    for (size_t i = 0; i < d; ++i) {
      __m512 q[vectors];
      for (size_t v = 0; v < vectors; ++v) q[v] = _mm512_loadu_ps(queries + i * tile + v * 16);
      for (size_t r = 0; r < group; ++r) {
        const __m512 x = _mm512_set1_ps(rows[r * stride + i]);
        for (size_t v = 0; v < vectors; ++v) sums[r][v] = _mm512_fmadd_ps(x, q[v], sums[r][v]);
      }
    }
  }
};

}  // namespace

const RowKernels rows_avx512 = {split,        join,         self_dot,    residual,   refine<false>,
                                refine<true>, pairs<false>, pairs<true>, kth_largest};
const ScanKernels scan_avx512 = {tile,
                                 false,
                                 prepared_bytes,
                                 prepare,
                                 packed_bytes,
                                 staged_bytes,
                                 stage,
                                 direct,
                                 pack,
                                 Blocks<Avx512>::scan,
                                 Blocks<Avx512>::maxima};

}  // namespace ivf::detail::cpu

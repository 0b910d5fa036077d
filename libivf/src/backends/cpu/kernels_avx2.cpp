// AVX2 and FMA: canonical arithmetic with eight double lanes in two registers, and a float32 filter.

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backends/cpu/kernels.h"
#include "backends/cpu/kth_largest.h"

namespace ivf::detail::cpu {
namespace {

// ---------------------------------------------------------------------------------------------- rows

uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

bool split(const float* rows, size_t count, uint16_t* hi, uint16_t* lo) {
  const __m256i half = _mm256_set1_epi32(0x8000), low = _mm256_set1_epi32(0xffff);
  __m256i seen = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows + i));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows + i + 8));
    const __m256i high = _mm256_packus_epi32(_mm256_srli_epi32(_mm256_add_epi32(a, half), 16),
                                             _mm256_srli_epi32(_mm256_add_epi32(b, half), 16));
    const __m256i rest = _mm256_packus_epi32(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
    // packus works on the two halves of a register by themselves; 0xd8 puts the quarters back in order.
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(hi + i), _mm256_permute4x64_epi64(high, 0xd8));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(lo + i), _mm256_permute4x64_epi64(rest, 0xd8));
    seen = _mm256_or_si256(seen, _mm256_or_si256(a, b));
  }
  uint32_t tail = 0;
  for (; i < count; ++i) {
    const uint32_t bits = bits_of(rows[i]);
    hi[i] = static_cast<uint16_t>((bits + 0x8000u) >> 16);
    lo[i] = static_cast<uint16_t>(bits);
    tail |= bits;
  }
  return _mm256_testz_si256(seen, low) != 0 && (tail & 0xffffu) == 0;
}

__m256i joined8(__m128i hi, __m128i lo) {
  return _mm256_add_epi32(_mm256_slli_epi32(_mm256_cvtepu16_epi32(hi), 16), _mm256_cvtepi16_epi32(lo));
}

__m128i load8(const uint16_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

/// The first `count` (< 8) of eight values, zeros after them.
__m128i load_part(const uint16_t* p, size_t count) {
  uint16_t part[8] = {};
  memcpy(part, p, count * sizeof(uint16_t));
  return load8(part);
}

void join(const uint16_t* hi, const uint16_t* lo, size_t count, float* rows) {
  const __m128i zero = _mm_setzero_si128();
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(rows + i),
                        joined8(load8(hi + i), lo == nullptr ? zero : load8(lo + i)));
  }
  if (i == count) return;
  float part[8];
  const __m256i rest = joined8(load_part(hi + i, count - i), lo == nullptr ? zero : load_part(lo + i, count - i));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(part), rest);
  memcpy(rows + i, part, (count - i) * sizeof(float));
}

/// Eight double lanes: lane j is accumulator j of the canonical sum.
struct Lanes {
  __m256d low, high;
};

Lanes zero_lanes() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }

Lanes widen(__m256 x) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
}

// ((a0+a4)+(a2+a6)) + ((a1+a5)+(a3+a7))
double tree(Lanes a) {
  const __m256d four = _mm256_add_pd(a.low, a.high);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

template <bool inner_product>
Lanes accumulate(Lanes q, Lanes x, Lanes a) {
  if (inner_product) return {_mm256_fmadd_pd(q.low, x.low, a.low), _mm256_fmadd_pd(q.high, x.high, a.high)};
  const __m256d low = _mm256_sub_pd(q.low, x.low), high = _mm256_sub_pd(q.high, x.high);
  return {_mm256_fmadd_pd(low, low, a.low), _mm256_fmadd_pd(high, high, a.high)};
}

/// Up to eight floats from p on, zeros past `left`. Zero lanes add fma(0, 0, a) = a: an accumulator is never -0.
__m256 load_floats(const float* p, size_t left) {
  if (left >= 8) return _mm256_loadu_ps(p);
  float part[8] = {};
  memcpy(part, p, left * sizeof(float));
  return _mm256_loadu_ps(part);
}

double self_dot(const float* x, size_t d) {
  Lanes a = zero_lanes();
  for (size_t i = 0; i < d; i += 8) {
    const Lanes v = widen(load_floats(x + i, d - i));
    a = accumulate<true>(v, v, a);
  }
  return tree(a);
}

void residual(const float* x, size_t d, double* residual_sum, double* norm_sum) {
  const __m256i half = _mm256_set1_epi32(0x8000), high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  Lanes r = zero_lanes();
  for (size_t i = 0; i < d; i += 8) {
    const __m256 v = load_floats(x + i, d - i);
    const __m256i rounded = _mm256_and_si256(_mm256_add_epi32(_mm256_castps_si256(v), half), high);
    r = accumulate<false>(widen(v), widen(_mm256_castsi256_ps(rounded)), r);
  }
  *residual_sum = tree(r);
  *norm_sum = self_dot(x, d);
}

template <bool inner_product, size_t width>
void pair_rows(const PairArgs* args, size_t first) {
  Lanes a[width];
  for (size_t r = 0; r < width; ++r) a[r] = zero_lanes();
  for (size_t i = 0; i < args->d; i += 8) {
    const size_t left = args->d - i;
    for (size_t r = 0; r < width; ++r) {
      a[r] = accumulate<inner_product>(widen(load_floats(args->left[first + r] + i, left)),
                                       widen(load_floats(args->right[first + r] + i, left)), a[r]);
    }
  }
  for (size_t r = 0; r < width; ++r) args->values[first + r] = static_cast<float>(tree(a[r]));
}

template <bool inner_product>
void pairs(const PairArgs* args) {
  size_t r = 0;
  for (; r + 2 <= args->count; r += 2) pair_rows<inner_product, 2>(args, r);
  for (; r < args->count; ++r) pair_rows<inner_product, 1>(args, r);
}

// `width` rows at a time hide the latency of one accumulator's chain of additions.
template <bool inner_product, bool has_lo, size_t width>
void refine_rows(const RefineArgs* args, size_t first) {
  const __m128i zero = _mm_setzero_si128();
  const uint16_t* hi[width];
  const uint16_t* lo[width];
  Lanes a[width];
  for (size_t r = 0; r < width; ++r) {
    hi[r] = args->hi + args->rows[first + r] * args->d;
    lo[r] = has_lo ? args->lo + args->rows[first + r] * args->d : nullptr;
    a[r] = zero_lanes();
  }
  size_t i = 0;
  for (; i + 8 <= args->d; i += 8) {
    const Lanes q = widen(_mm256_loadu_ps(args->query + i));
    for (size_t r = 0; r < width; ++r) {
      const __m256i bits = joined8(load8(hi[r] + i), has_lo ? load8(lo[r] + i) : zero);
      a[r] = accumulate<inner_product>(q, widen(_mm256_castsi256_ps(bits)), a[r]);
    }
  }
  if (i < args->d) {
    const size_t left = args->d - i;
    const Lanes q = widen(load_floats(args->query + i, left));
    for (size_t r = 0; r < width; ++r) {
      const __m256i bits = joined8(load_part(hi[r] + i, left), has_lo ? load_part(lo[r] + i, left) : zero);
      a[r] = accumulate<inner_product>(q, widen(_mm256_castsi256_ps(bits)), a[r]);
    }
  }
  for (size_t r = 0; r < width; ++r) args->values[first + r] = static_cast<float>(tree(a[r]));
}

template <bool inner_product, bool has_lo>
void refine_planes(const RefineArgs* args) {
  size_t r = 0;
  for (; r + 2 <= args->count; r += 2) {
    if (r + 6 < args->count) {
      const size_t next = args->rows[r + 4] * args->d, after = args->rows[r + 5] * args->d;
      for (size_t i = 0; i < args->d && i < 256; i += 32) {
        _mm_prefetch(reinterpret_cast<const char*>(args->hi + next + i), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(args->hi + after + i), _MM_HINT_T0);
        if (has_lo) _mm_prefetch(reinterpret_cast<const char*>(args->lo + next + i), _MM_HINT_T0);
        if (has_lo) _mm_prefetch(reinterpret_cast<const char*>(args->lo + after + i), _MM_HINT_T0);
      }
    }
    refine_rows<inner_product, has_lo, 2>(args, r);
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
// The layout of the AVX-512 level with 16 lanes: packed[k][16]. The sum of a lane is a chain of d fused additions: its
// error is within the bound gamma_d = d * 2^-24 of docs/numerics.md.

constexpr size_t tile = 16;
constexpr size_t row_group = 6;  // 6 rows x 2 vectors = 12 accumulators of 16 registers.

size_t prepared_bytes(size_t d) { return d * sizeof(float); }
size_t packed_bytes(size_t d) { return tile * d * sizeof(float); }
size_t staged_stride(size_t d) { return (d + 7) / 8 * 8; }
size_t staged_bytes(size_t d) { return staged_stride(d) * sizeof(float); }
bool direct(const uint16_t*, size_t) { return false; }

void stage(const uint16_t* hi, size_t rows, size_t d, void* staged) {
  for (size_t r = 0; r < rows; ++r) {
    float* out = static_cast<float*>(staged) + r * staged_stride(d);
    for (size_t i = 0; i < d; i += 8) {
      const uint16_t* x = hi + r * d + i;
      const __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(d - i >= 8 ? load8(x) : load_part(x, d - i)), 16);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), bits);
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

size_t append(__m256 dots, unsigned keep, uint32_t tag, const ScanArgs* args, size_t found) {
  alignas(32) float values[8];
  _mm256_store_ps(values, dots);
  for (; keep != 0; keep &= keep - 1) {
    const uint32_t lane = static_cast<uint32_t>(__builtin_ctz(keep));
    args->dots[found] = values[lane];
    args->tags[found++] = tag + lane;
  }
  return found;
}

unsigned lane_mask(size_t nq, size_t first) {
  if (nq <= first) return 0;
  return nq - first >= 8 ? 0xffu : (1u << (nq - first)) - 1;
}

// Products of `vectors` times 8 queries and `group` rows from row `first` on: consume(row, vector, products).
template <size_t group, size_t vectors, class Consume>
void multiply_group(const ScanArgs* args, size_t first, const Consume& consume) {
  const size_t d = args->d, stride = staged_stride(d);
  const float* rows = static_cast<const float*>(args->rows_data) + first * stride;
  __m256 sums[group][vectors];
  for (size_t r = 0; r < group; ++r) {
    for (size_t v = 0; v < vectors; ++v) sums[r][v] = _mm256_setzero_ps();
  }
  const float* queries = static_cast<const float*>(args->packed);
  for (size_t i = 0; i < d; ++i) {
    __m256 q[vectors];
    for (size_t v = 0; v < vectors; ++v) q[v] = _mm256_loadu_ps(queries + i * tile + v * 8);
    for (size_t r = 0; r < group; ++r) {
      const __m256 x = _mm256_broadcast_ss(rows + r * stride + i);
      for (size_t v = 0; v < vectors; ++v) sums[r][v] = _mm256_fmadd_ps(x, q[v], sums[r][v]);
    }
  }
  // Copied, and consumed from the copy: the loop that consumes is not unrolled, and an array that it indexes would be
  // stored to memory after every addition.
  __m256 products[group * vectors];
#pragma GCC unroll 12
  for (size_t i = 0; i < group * vectors; ++i) products[i] = sums[i / vectors][i % vectors];
  for (size_t r = 0; r < group; ++r) {
    for (size_t v = 0; v < vectors; ++v) consume(first + r, v, products[r * vectors + v]);
  }
}

template <class Consume>
void multiply(const ScanArgs* args, const Consume& consume) {
  const bool one = args->nq <= 8;
  size_t row = 0;
  for (; row + row_group <= args->rows; row += row_group) {
    one ? multiply_group<row_group, 1>(args, row, consume) : multiply_group<row_group, 2>(args, row, consume);
  }
  for (; row < args->rows; ++row) {
    one ? multiply_group<1, 1>(args, row, consume) : multiply_group<1, 2>(args, row, consume);
  }
}

size_t scan(const ScanArgs* args) {
  size_t found = 0;
  multiply(args, [args, &found](size_t row, size_t v, __m256 dots) {
    const size_t block = row / scan_block_rows;
    const __m256 slack = _mm256_fmadd_ps(_mm256_loadu_ps(args->kappa + v * 8), _mm256_set1_ps(args->block_norms[block]),
                                         _mm256_set1_ps(args->block_slops[block]));
    const __m256 bound = _mm256_sub_ps(_mm256_loadu_ps(args->t + v * 8), slack);
    const __m256 difference = _mm256_sub_ps(dots, _mm256_set1_ps(args->half_norms[row]));
    const auto passed = static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(difference, bound, _CMP_NLT_UQ)));
    const unsigned keep = passed & lane_mask(args->nq, v * 8);
    if (keep != 0) found = append(dots, keep, static_cast<uint32_t>(row * max_tile + v * 8), args, found);
  });
  return found;
}

void maxima(const ScanArgs* args, float* largest) {
  multiply(args, [args, largest](size_t row, size_t v, __m256 dots) {
    float* best = largest + row / maxima_rows * tile + v * 8;
    const __m256 difference = _mm256_sub_ps(dots, _mm256_set1_ps(args->half_norms[row]));
    _mm256_storeu_ps(best, row % maxima_rows == 0 ? difference : _mm256_max_ps(_mm256_loadu_ps(best), difference));
  });
}

}  // namespace

const RowKernels rows_avx2 = {split,        join,         self_dot,    residual,   refine<false>,
                              refine<true>, pairs<false>, pairs<true>, kth_largest};
const ScanKernels scan_avx2 = {tile,  false,  prepared_bytes, prepare, packed_bytes, staged_bytes,
                               stage, direct, pack,           scan,    maxima};

}  // namespace ivf::detail::cpu

// NEON (AArch64): canonical arithmetic with eight double lanes in four registers, and a float32 filter that expands the
// hi plane in registers.

#include <arm_neon.h>
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
  const uint32x4_t half = vdupq_n_u32(0x8000);
  uint16x4_t seen = vdup_n_u16(0);
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const uint32x4_t bits = vreinterpretq_u32_f32(vld1q_f32(rows + i));
    const uint16x4_t low = vmovn_u32(bits);
    vst1_u16(hi + i, vshrn_n_u32(vaddq_u32(bits, half), 16));
    vst1_u16(lo + i, low);
    seen = vorr_u16(seen, low);
  }
  uint32_t tail = vmaxv_u16(seen);
  for (; i < count; ++i) {
    const uint32_t bits = bits_of(rows[i]);
    hi[i] = static_cast<uint16_t>((bits + 0x8000u) >> 16);
    lo[i] = static_cast<uint16_t>(bits);
    tail |= bits;
  }
  return (tail & 0xffffu) == 0;
}

float32x4_t joined4(uint16x4_t hi, uint16x4_t lo) {
  const int32x4_t high = vreinterpretq_s32_u32(vshll_n_u16(hi, 16));
  return vreinterpretq_f32_s32(vaddw_s16(high, vreinterpret_s16_u16(lo)));
}

/// The first `count` (at most 4) of four values, zeros after them.
uint16x4_t load_part(const uint16_t* p, size_t count) {
  if (count == 4) return vld1_u16(p);
  uint16_t part[4] = {};
  memcpy(part, p, count * sizeof(uint16_t));
  return vld1_u16(part);
}

size_t at_most_4(size_t count) { return count < 4 ? count : 4; }

void join(const uint16_t* hi, const uint16_t* lo, size_t count, float* rows) {
  for (size_t i = 0; i < count; i += 4) {
    const size_t live = at_most_4(count - i);
    const float32x4_t x = joined4(load_part(hi + i, live), lo == nullptr ? vdup_n_u16(0) : load_part(lo + i, live));
    float part[4];
    vst1q_f32(part, x);
    memcpy(rows + i, part, live * sizeof(float));
  }
}

/// Eight double lanes: lanes 2j and 2j+1 of a canonical sum are in register j.
struct Lanes {
  float64x2_t pair[4];
};

Lanes zero_lanes() {
  const float64x2_t zero = vdupq_n_f64(0);
  return {{zero, zero, zero, zero}};
}

Lanes widen(float32x4_t low, float32x4_t high) {
  return {{vcvt_f64_f32(vget_low_f32(low)), vcvt_high_f64_f32(low), vcvt_f64_f32(vget_low_f32(high)),
           vcvt_high_f64_f32(high)}};
}

// ((a0+a4)+(a2+a6)) + ((a1+a5)+(a3+a7))
double tree(const Lanes& a) {
  return vaddvq_f64(vaddq_f64(vaddq_f64(a.pair[0], a.pair[2]), vaddq_f64(a.pair[1], a.pair[3])));
}

template <bool inner_product>
void accumulate(const Lanes& q, const Lanes& x, Lanes& a) {
  for (size_t j = 0; j < 4; ++j) {
    if (inner_product) {
      a.pair[j] = vfmaq_f64(a.pair[j], q.pair[j], x.pair[j]);
    } else {
      const float64x2_t t = vsubq_f64(q.pair[j], x.pair[j]);
      a.pair[j] = vfmaq_f64(a.pair[j], t, t);
    }
  }
}

/// Up to eight floats from p on, zeros past `left`. Zero lanes add fma(0, 0, a) = a: an accumulator is never -0.
Lanes load_floats(const float* p, size_t left) {
  if (left >= 8) return widen(vld1q_f32(p), vld1q_f32(p + 4));
  float part[8] = {};
  memcpy(part, p, left * sizeof(float));
  return widen(vld1q_f32(part), vld1q_f32(part + 4));
}

double self_dot(const float* x, size_t d) {
  Lanes a = zero_lanes();
  for (size_t i = 0; i < d; i += 8) {
    const Lanes v = load_floats(x + i, d - i);
    accumulate<true>(v, v, a);
  }
  return tree(a);
}

float32x4_t rounded4(const float* x) {
  const uint32x4_t bits = vaddq_u32(vreinterpretq_u32_f32(vld1q_f32(x)), vdupq_n_u32(0x8000));
  return vreinterpretq_f32_u32(vandq_u32(bits, vdupq_n_u32(0xffff0000u)));
}

void residual(const float* x, size_t d, double* residual_sum, double* norm_sum) {
  Lanes r = zero_lanes(), n = zero_lanes();
  for (size_t i = 0; i < d; i += 8) {
    float part[8] = {};
    memcpy(part, x + i, (d - i < 8 ? d - i : 8) * sizeof(float));
    const Lanes exact = load_floats(part, 8);
    accumulate<false>(exact, widen(rounded4(part), rounded4(part + 4)), r);
    accumulate<true>(exact, exact, n);
  }
  *residual_sum = tree(r);
  *norm_sum = tree(n);
}

template <bool has_lo>
float32x4_t load_row(const uint16_t* hi, const uint16_t* lo, size_t live) {
  return joined4(load_part(hi, live), has_lo ? load_part(lo, live) : vdup_n_u16(0));
}

template <bool inner_product, size_t width>
void pair_rows(const PairArgs* args, size_t first) {
  Lanes a[width];
  for (size_t r = 0; r < width; ++r) a[r] = zero_lanes();
  for (size_t i = 0; i < args->d; i += 8) {
    const size_t left = args->d - i;
    for (size_t r = 0; r < width; ++r) {
      accumulate<inner_product>(load_floats(args->left[first + r] + i, left),
                                load_floats(args->right[first + r] + i, left), a[r]);
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
    const Lanes q = load_floats(args->query + i, 8);
    for (size_t r = 0; r < width; ++r) {
      const Lanes x = widen(load_row<has_lo>(hi[r] + i, has_lo ? lo[r] + i : nullptr, 4),
                            load_row<has_lo>(hi[r] + i + 4, has_lo ? lo[r] + i + 4 : nullptr, 4));
      accumulate<inner_product>(q, x, a[r]);
    }
  }
  if (i < args->d) {
    const size_t left = args->d - i, low = at_most_4(left), high = left - low;
    const Lanes q = load_floats(args->query + i, left);
    for (size_t r = 0; r < width; ++r) {
      const Lanes x = widen(load_row<has_lo>(hi[r] + i, has_lo ? lo[r] + i : nullptr, low),
                            load_row<has_lo>(hi[r] + i + low, has_lo ? lo[r] + i + low : nullptr, high));
      accumulate<inner_product>(q, x, a[r]);
    }
  }
  for (size_t r = 0; r < width; ++r) args->values[first + r] = static_cast<float>(tree(a[r]));
}

template <bool inner_product, bool has_lo>
void refine_planes(const RefineArgs* args) {
  constexpr size_t width = 4;
  size_t r = 0;
  for (; r + width <= args->count; r += width) refine_rows<inner_product, has_lo, width>(args, r);
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
// Queries are packed k-major, 16 lanes a dimension: packed[k][16]. Rows are read in place, four dimensions a time, and
// every lane of them is multiplied by up to four query vectors. The sum of a lane is a chain of d fused additions: its
// error is within the bound gamma_d = d * 2^-24 of docs/numerics.md.

constexpr size_t tile = 16;

size_t prepared_bytes(size_t d) { return d * sizeof(float); }
size_t packed_bytes(size_t d) { return tile * d * sizeof(float); }
size_t staged_bytes(size_t d) { return d * sizeof(uint16_t); }
bool direct(const uint16_t*, size_t) { return true; }
void stage(const uint16_t* hi, size_t rows, size_t d, void* staged) { memcpy(staged, hi, rows * d * sizeof(uint16_t)); }
void prepare(const float* query, size_t d, void* prepared) { memcpy(prepared, query, d * sizeof(float)); }

void pack(const void* const* prepared, size_t nq, size_t d, void* packed) {
  float* out = static_cast<float*>(packed);
  for (size_t q = 0; q < tile; ++q) {
    const float* query = q < nq ? static_cast<const float*>(prepared[q]) : nullptr;
    for (size_t i = 0; i < d; ++i) out[i * tile + q] = query == nullptr ? 0.0f : query[i];
  }
}

float32x4_t expanded(uint16x4_t x) { return vreinterpretq_f32_u32(vshll_n_u16(x, 16)); }

/// Rows multiplied together with `vectors` times 4 queries; divides a block and makes enough chains of additions to
/// hide the latency of one.
template <size_t vectors>
constexpr size_t group = vectors == 4 ? 4 : 8;

template <size_t vectors>
using Sums = float32x4_t[group<vectors>][vectors];

template <int lane, size_t vectors>
void multiply_lane(const float32x4_t* x, const float* queries, Sums<vectors>& sums) {
  float32x4_t q[vectors];
  for (size_t v = 0; v < vectors; ++v) q[v] = vld1q_f32(queries + lane * tile + v * 4);
  for (size_t r = 0; r < group<vectors>; ++r) {
    for (size_t v = 0; v < vectors; ++v) sums[r][v] = vfmaq_laneq_f32(sums[r][v], q[v], x[r], lane);
  }
}

/// Products of a group of rows from row `first` on.
template <size_t vectors>
void multiply(const ScanArgs* args, size_t first, Sums<vectors>& sums) {
  constexpr size_t rows = group<vectors>;
  const size_t d = args->d;
  const uint16_t* hi = static_cast<const uint16_t*>(args->rows_data) + first * d;
  const float* queries = static_cast<const float*>(args->packed);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t v = 0; v < vectors; ++v) sums[r][v] = vdupq_n_f32(0);
  }
  size_t i = 0;
  for (; i + 4 <= d; i += 4) {
    float32x4_t x[rows];
    for (size_t r = 0; r < rows; ++r) x[r] = expanded(vld1_u16(hi + r * d + i));
    multiply_lane<0, vectors>(x, queries + i * tile, sums);
    multiply_lane<1, vectors>(x, queries + i * tile, sums);
    multiply_lane<2, vectors>(x, queries + i * tile, sums);
    multiply_lane<3, vectors>(x, queries + i * tile, sums);
  }
  for (; i < d; ++i) {
    float32x4_t x[rows];
    for (size_t r = 0; r < rows; ++r) x[r] = expanded(vdup_n_u16(hi[r * d + i]));
    multiply_lane<0, vectors>(x, queries + i * tile, sums);
  }
}

/// The discard bounds of the tile's queries for a block of rows; lanes past nq discard everything.
template <size_t vectors>
void block_bounds(const ScanArgs* args, size_t block, float32x4_t* bounds) {
  float bound[tile];
  for (size_t q = 0; q < vectors * 4; ++q) {
    bound[q] = q < args->nq ? args->t[q] - (args->kappa[q] * args->block_norms[block] + args->block_slops[block])
                            : __builtin_inff();
  }
  for (size_t v = 0; v < vectors; ++v) bounds[v] = vld1q_f32(bound + v * 4);
}

/// Appends the survivors among the products of a group's `live` rows from row `first` on.
template <size_t vectors>
size_t select(const ScanArgs* args, size_t first, size_t live, const Sums<vectors>& sums, const float32x4_t* bound,
              size_t found) {
  for (size_t r = 0; r < live; ++r) {
    const float32x4_t half = vdupq_n_f32(args->half_norms[first + r]);
    uint32x4_t discarded = vdupq_n_u32(~uint32_t{0});
    for (size_t v = 0; v < vectors; ++v)
      discarded = vandq_u32(discarded, vcltq_f32(vsubq_f32(sums[r][v], half), bound[v]));
    if (vminvq_u32(discarded) != 0) continue;
    for (size_t v = 0; v < vectors; ++v) {
      uint32_t below[4];
      float dots[4];
      vst1q_u32(below, vcltq_f32(vsubq_f32(sums[r][v], half), bound[v]));
      vst1q_f32(dots, sums[r][v]);
      for (size_t lane = 0; lane < 4 && v * 4 + lane < args->nq; ++lane) {
        if (below[lane] != 0) continue;
        args->dots[found] = dots[lane];
        args->tags[found++] = static_cast<uint32_t>((first + r) * max_tile + v * 4 + lane);
      }
    }
  }
  return found;
}

template <size_t vectors>
size_t scan_rows(const ScanArgs* args) {
  constexpr size_t rows = group<vectors>;
  size_t found = 0;
  for (size_t block = 0; block * scan_block_rows < args->rows; ++block) {
    float32x4_t bound[vectors];
    block_bounds<vectors>(args, block, bound);
    const size_t end = (block + 1) * scan_block_rows < args->rows ? (block + 1) * scan_block_rows : args->rows;
    for (size_t first = block * scan_block_rows; first < end; first += rows) {
      Sums<vectors> sums;
      multiply<vectors>(args, first, sums);
      found = select<vectors>(args, first, end - first < rows ? end - first : rows, sums, bound, found);
    }
  }
  return found;
}

template <size_t vectors>
void maxima_of(const ScanArgs* args, float* maxima) {
  constexpr size_t rows = group<vectors>;
  for (size_t first = 0; first < args->rows; first += rows) {
    Sums<vectors> sums;
    multiply<vectors>(args, first, sums);
    for (size_t r = 0; r < rows && first + r < args->rows; ++r) {
      const size_t row = first + r;
      const float32x4_t half = vdupq_n_f32(args->half_norms[row]);
      float* out = maxima + row / maxima_rows * tile;
      for (size_t v = 0; v < vectors; ++v) {
        const float32x4_t difference = vsubq_f32(sums[r][v], half);
        vst1q_f32(out + v * 4, row % maxima_rows == 0 ? difference : vmaxq_f32(vld1q_f32(out + v * 4), difference));
      }
    }
  }
}

size_t scan(const ScanArgs* args) {
  if (args->nq <= 4) return scan_rows<1>(args);
  return args->nq <= 8 ? scan_rows<2>(args) : scan_rows<4>(args);
}

void maxima(const ScanArgs* args, float* largest) {
  if (args->nq <= 4) {
    maxima_of<1>(args, largest);
  } else if (args->nq <= 8) {
    maxima_of<2>(args, largest);
  } else {
    maxima_of<4>(args, largest);
  }
}

}  // namespace

const RowKernels rows_neon = {split,        join,         self_dot,    residual,   refine<false>,
                              refine<true>, pairs<false>, pairs<true>, kth_largest};
const ScanKernels scan_neon = {tile,  false,  prepared_bytes, prepare, packed_bytes, staged_bytes,
                               stage, direct, pack,           scan,    maxima};

}  // namespace ivf::detail::cpu

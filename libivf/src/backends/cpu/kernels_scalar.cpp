// The reference level: plain C++, one operation at a time. It calls nothing but scalar code.

#include <math.h>
#include <string.h>

#include "backends/cpu/kernels.h"
#include "backends/cpu/kth_largest.h"

namespace ivf::detail::cpu {
namespace {

uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

float joined(uint16_t hi, uint16_t lo) {
  return float_of((uint32_t{hi} << 16) + static_cast<uint32_t>(static_cast<int32_t>(static_cast<int16_t>(lo))));
}

bool split(const float* rows, size_t count, uint16_t* hi, uint16_t* lo) {
  uint16_t seen = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t bits = bits_of(rows[i]);
    hi[i] = static_cast<uint16_t>((bits + 0x8000u) >> 16);
    lo[i] = static_cast<uint16_t>(bits);
    seen = static_cast<uint16_t>(seen | lo[i]);
  }
  return seen == 0;
}

void join(const uint16_t* hi, const uint16_t* lo, size_t count, float* rows) {
  for (size_t i = 0; i < count; ++i) rows[i] = joined(hi[i], lo == nullptr ? uint16_t{0} : lo[i]);
}

double tree(const double* a) { return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7])); }

double self_dot(const float* x, size_t d) {
  double a[8] = {};
  for (size_t i = 0; i < d; ++i) a[i % 8] = fma(static_cast<double>(x[i]), static_cast<double>(x[i]), a[i % 8]);
  return tree(a);
}

void residual(const float* x, size_t d, double* residual_sum, double* norm_sum) {
  double r[8] = {};
  for (size_t i = 0; i < d; ++i) {
    const float rounded = float_of((bits_of(x[i]) + 0x8000u) & 0xffff0000u);
    const double t = static_cast<double>(x[i]) - static_cast<double>(rounded);
    r[i % 8] = fma(t, t, r[i % 8]);
  }
  *residual_sum = tree(r);
  *norm_sum = self_dot(x, d);
}

template <bool inner_product>
double accumulate(float left, float right, double a) {
  const double q = static_cast<double>(left), x = static_cast<double>(right);
  const double t = q - x;
  return inner_product ? fma(q, x, a) : fma(t, t, a);
}

template <bool inner_product>
void pairs(const PairArgs* args) {
  for (size_t r = 0; r < args->count; ++r) {
    double a[8] = {};
    for (size_t i = 0; i < args->d; ++i)
      a[i % 8] = accumulate<inner_product>(args->left[r][i], args->right[r][i], a[i % 8]);
    args->values[r] = static_cast<float>(tree(a));
  }
}

template <bool inner_product>
void refine(const RefineArgs* args) {
  for (size_t r = 0; r < args->count; ++r) {
    const size_t base = args->rows[r] * args->d;
    double a[8] = {};
    for (size_t i = 0; i < args->d; ++i) {
      const float x = joined(args->hi[base + i], args->lo == nullptr ? uint16_t{0} : args->lo[base + i]);
      a[i % 8] = accumulate<inner_product>(args->query[i], x, a[i % 8]);
    }
    args->values[r] = static_cast<float>(tree(a));
  }
}

constexpr size_t tile = 8;

size_t prepared_bytes(size_t d) { return d * sizeof(float); }
size_t packed_bytes(size_t d) { return tile * d * sizeof(float); }
size_t staged_bytes(size_t d) { return d * sizeof(uint16_t); }
void stage(const uint16_t* hi, size_t rows, size_t d, void* staged) { memcpy(staged, hi, rows * d * sizeof(uint16_t)); }
bool direct(const uint16_t*, size_t) { return true; }

void prepare(const float* query, size_t d, void* prepared) { memcpy(prepared, query, d * sizeof(float)); }

void pack(const void* const* prepared, size_t nq, size_t d, void* packed) {
  float* out = static_cast<float*>(packed);
  for (size_t q = 0; q < nq; ++q) memcpy(out + q * d, prepared[q], d * sizeof(float));
}

float dot_product(const float* y, const uint16_t* x, size_t d) {
  float dot = 0;
  for (size_t i = 0; i < d; ++i) dot += y[i] * float_of(uint32_t{x[i]} << 16);
  return dot;
}

void maxima(const ScanArgs* args, float* largest) {
  const float* queries = static_cast<const float*>(args->packed);
  for (size_t r = 0; r < args->rows; ++r) {
    const uint16_t* x = static_cast<const uint16_t*>(args->rows_data) + r * args->d;
    for (size_t q = 0; q < args->nq; ++q) {
      float* best = largest + r / maxima_rows * tile + q;
      const float difference = dot_product(queries + q * args->d, x, args->d) - args->half_norms[r];
      if (r % maxima_rows == 0 || difference > *best) *best = difference;
    }
  }
}

size_t scan(const ScanArgs* args) {
  const float* queries = static_cast<const float*>(args->packed);
  const size_t d = args->d;
  size_t found = 0;
  for (size_t r = 0; r < args->rows; ++r) {
    const uint16_t* x = static_cast<const uint16_t*>(args->rows_data) + r * d;
    const size_t block = r / scan_block_rows;
    for (size_t q = 0; q < args->nq; ++q) {
      const float dot = dot_product(queries + q * d, x, d);
      const float bound = args->t[q] - args->kappa[q] * args->block_norms[block] - args->block_slops[block];
      if (!(dot < args->half_norms[r] + bound)) {
        args->dots[found] = dot;
        args->tags[found++] = static_cast<uint32_t>(r * max_tile + q);
      }
    }
  }
  return found;
}

}  // namespace

const RowKernels rows_scalar = {split,        join,         self_dot,    residual,   refine<false>,
                                refine<true>, pairs<false>, pairs<true>, kth_largest};
const ScanKernels scan_scalar = {tile,  false,  prepared_bytes, prepare, packed_bytes, staged_bytes,
                                 stage, direct, pack,           scan,    maxima};

}  // namespace ivf::detail::cpu

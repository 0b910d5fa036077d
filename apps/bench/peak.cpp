#include "bench/peak.h"

#include <chrono>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ivf::bench {
namespace {

template <class Body>
double flops_per_second(double flops_per_call, const Body& body) {
  using clock = std::chrono::steady_clock;
  double best = 0;
  for (int round = 0; round < 20; ++round) {
    const auto start = clock::now();
    body();
    const double seconds = std::chrono::duration<double>(clock::now() - start).count();
    if (flops_per_call / seconds > best) best = flops_per_call / seconds;
  }
  return best;
}

#if defined(__x86_64__)

constexpr int rounds = 20000;

// The accumulators start with different values: equal ones would be merged into one.

__attribute__((target("avx2,fma"))) void fma256() {
  __m256 a[12];
#pragma GCC unroll 12
  for (int j = 0; j < 12; ++j) a[j] = _mm256_set1_ps(static_cast<float>(j));
  __m256 x = _mm256_set1_ps(0.5f);
  for (int i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) a[j] = _mm256_fmadd_ps(a[j], x, x);
    __asm__ volatile("" : "+x"(x));
  }
  __m256 sum = a[0];
#pragma GCC unroll 12
  for (int j = 1; j < 12; ++j) sum = _mm256_add_ps(sum, a[j]);
  __asm__ volatile("" : : "x"(sum));
}

__attribute__((target("avx512f"))) void fma512() {
  __m512 a[24];
#pragma GCC unroll 24
  for (int j = 0; j < 24; ++j) a[j] = _mm512_set1_ps(static_cast<float>(j));
  __m512 x = _mm512_set1_ps(0.5f);
  for (int i = 0; i < rounds; ++i) {
#pragma GCC unroll 24
    for (int j = 0; j < 24; ++j) a[j] = _mm512_fmadd_ps(a[j], x, x);
    __asm__ volatile("" : "+v"(x));
  }
  __m512 sum = a[0];
#pragma GCC unroll 24
  for (int j = 1; j < 24; ++j) sum = _mm512_add_ps(sum, a[j]);
  __asm__ volatile("" : : "v"(sum));
}

__attribute__((target("avx512f,avx512bf16"))) void dot_products_bf16() {
  __m512 a[24];
#pragma GCC unroll 24
  for (int j = 0; j < 24; ++j) a[j] = _mm512_set1_ps(static_cast<float>(j));
  __m512i x = _mm512_set1_epi16(0x3f00);  // 0.5 as bf16
  for (int i = 0; i < rounds; ++i) {
    const auto pairs = (__m512bh)x;
#pragma GCC unroll 24
    for (int j = 0; j < 24; ++j) a[j] = _mm512_dpbf16_ps(a[j], pairs, pairs);
    __asm__ volatile("" : "+v"(x));
  }
  __m512 sum = a[0];
#pragma GCC unroll 24
  for (int j = 1; j < 24; ++j) sum = _mm512_add_ps(sum, a[j]);
  __asm__ volatile("" : : "v"(sum));
}

// A constant in memory: the intrinsic tells the compiler of the first eight bytes only, and it drops stores to the
// rest.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
const TileConfig config;

__attribute__((target("amx-tile,amx-bf16"))) void tile_products() {
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}

#endif

}  // namespace

double peak_flops(const char* level) {
#if defined(__x86_64__)
  if (std::strcmp(level, "avx2") == 0) return flops_per_second(rounds * 12.0 * 16, fma256);
  if (std::strcmp(level, "avx512") == 0) return flops_per_second(rounds * 24.0 * 32, fma512);
  if (std::strcmp(level, "avx512bf16") == 0) return flops_per_second(rounds * 24.0 * 64, dot_products_bf16);
  if (std::strcmp(level, "amx") == 0) return flops_per_second(rounds * 4.0 * 16384, tile_products);
#endif
  (void)level;
  return 0;
}

}  // namespace ivf::bench

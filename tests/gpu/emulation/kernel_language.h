#pragma once
/// \file
/// What device code is written in, beyond C++: CUDA's names for it.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "emulation/grid.h"

#define __host__
#define __device__
#define __global__
#define __launch_bounds__(...)
// Blocks run one after another, so that one place serves all of them.
#define __shared__ static

struct uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}

inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
inline float __double2float_ru(double x) {
  const float nearest = static_cast<float>(x);
  return static_cast<double>(nearest) < x ? std::nextafter(nearest, std::numeric_limits<float>::infinity()) : nearest;
}
inline float __double2float_rd(double x) { return -__double2float_ru(-x); }
/// The number of the lowest bit that is set, from 1; 0: there is none.
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }

// Only one thread runs at a time: it reads and writes without any other in between, and sees all that others wrote.
template <class T>
T __ldcg(const T* from) {
  return *from;
}
inline void __threadfence() {}
template <class T>
T atomicAdd(T* at, std::type_identity_t<T> value) {
  const T before = *at;
  *at = before + value;
  return before;
}
template <class T>
T atomicMin(T* at, std::type_identity_t<T> value) {
  const T before = *at;
  *at = min(before, value);
  return before;
}
template <class T>
T atomicMax(T* at, std::type_identity_t<T> value) {
  const T before = *at;
  *at = max(before, value);
  return before;
}

inline void __syncthreads() { ivf::emulation::wait_for_block(); }
inline void __syncwarp() { ivf::emulation::wait_for_warp(); }

// `lanes` is the set of threads that take part, which is always all of the warp.
template <class T>
T __shfl_sync(unsigned /*lanes*/, T value, int from) {
  return ivf::emulation::exchange(value, static_cast<unsigned>(from));
}
template <class T>
T __shfl_xor_sync(unsigned /*lanes*/, T value, int difference) {
  return ivf::emulation::exchange(value, threadIdx.x ^ static_cast<unsigned>(difference));
}
template <class T>
T __shfl_up_sync(unsigned /*lanes*/, T value, int distance) {
  const unsigned lane = threadIdx.x % ivf::emulation::warp_threads, by = static_cast<unsigned>(distance);
  return ivf::emulation::exchange(value, lane < by ? lane : lane - by);
}
inline unsigned __ballot_sync(unsigned /*lanes*/, bool vote) {
  const std::uint64_t* votes = ivf::emulation::exchange_words(vote ? 1 : 0);
  unsigned bits = 0;
  for (unsigned i = 0; i < ivf::emulation::warp_threads; ++i) bits |= static_cast<unsigned>(votes[i]) << i;
  return bits;
}

#pragma once
/// \file
/// Grids of blocks of threads, and what the threads of a block wait for each other with.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#include "emulation/status.h"

/// As in CUDA.
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Of the thread that runs.
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace ivf::emulation {

constexpr unsigned warp_threads = 32;
constexpr unsigned most_threads = 1024;  ///< Of a block.
constexpr std::size_t most_shared_bytes = 227 << 10;
constexpr std::size_t usual_shared_bytes = 48 << 10;  ///< Without leave for more.
constexpr std::size_t dynamic_alignment = 1024;

/// Shared memory of the block that runs, of the size that its launch gave.
extern char* dynamic_memory;

/// Lets a kernel ask for that much shared memory.
emulatedError_t allow_shared_bytes(const void* kernel, int bytes);

/// Calls `thread` for every thread of every block. `kernel` tells kernels apart. One grid runs at a time. What went
/// wrong is what emulatedGetLastError() finds.
///
/// IVF_EMULATED_ORDER=N in the environment, N not 0: blocks, and those threads of a block that could go on, run in a
/// random order instead of by number. No result may depend on it.
void run(const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread);

/// Waits for all threads of the block.
void wait_for_block();
/// Waits for all threads of the warp.
void wait_for_warp();

/// The words that the threads of the warp give, all of which see all of them until they exchange again.
const std::uint64_t* exchange_words(std::uint64_t word);

/// Gives `value` to the warp and returns the one that thread `from` of the warp gave.
template <class T>
T exchange(T value, unsigned from) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t word = 0;
  std::memcpy(&word, &value, sizeof(T));
  word = exchange_words(word)[from % warp_threads];
  std::memcpy(&value, &word, sizeof(T));
  return value;
}

}  // namespace ivf::emulation

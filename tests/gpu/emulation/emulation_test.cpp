// What the emulator is relied on for: that it computes as a device does, and notices what a device would not forgive.

#include <cstdlib>
#include <string>
#include <vector>

#include "backends/gpu/vendor.h"
#include "gpu/device_memory.h"
#include "gpu/gpu_fixture.h"
#include "support/catch.hpp"

namespace {

using namespace ivf;
using namespace ivf::support;
using ivf::detail::gpu::launch_kernel;
using ivf::detail::gpu::warp_lanes;

IVF_DYNAMIC_MEMORY(16, dynamic_memory);

/// Sets a variable of the environment for the length of a scope.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { unsetenv(name_); }

 private:
  const char* name_;
};

/// Each thread reverses the block's numbers, and sums those of its warp in two ways.
__global__ void compute(unsigned* reversed, unsigned* sums, unsigned* votes, unsigned* total) {
  auto* numbers = reinterpret_cast<unsigned*>(dynamic_memory);
  const unsigned i = threadIdx.x, n = blockDim.x, at = blockIdx.x * n + i;
  numbers[i] = at;
  __syncthreads();
  reversed[at] = numbers[n - 1 - i];
  sums[at] = detail::gpu::warp_sum(i) - detail::gpu::warp_prefix(i);
  votes[at] = detail::gpu::ballot(i % 3 == 0);
  atomicAdd(total, i);
}

__global__ void diverge() {
  if (threadIdx.x != 3) __syncthreads();
}

__global__ void write_past(unsigned bytes) { dynamic_memory[bytes] = 1; }

__global__ void number_in_order(unsigned* order, unsigned* count) {
  order[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(count, 1u);
}

std::vector<unsigned> numbered_in_order() {
  const OnDevice<unsigned> order(std::vector<unsigned>(4 * 64)), count(std::vector<unsigned>(1));
  launch_kernel(number_in_order, 4, 64, 0, nullptr, order.get(), count.get());
  return order.values();
}

}  // namespace

TEST_CASE("emulated threads share memory, exchange values and vote", "[gpu]") {
  for (const char* order : {"0", "1", "2"}) {
    const Environment environment("IVF_EMULATED_ORDER", order);
    constexpr unsigned blocks = 3, threads = 96;
    const std::vector<unsigned> nothing(blocks * threads);
    const OnDevice<unsigned> reversed(nothing), sums(nothing), votes(nothing), total(std::vector<unsigned>(1));
    launch_kernel(compute, blocks, threads, threads * sizeof(unsigned), nullptr, reversed.get(), sums.get(),
                  votes.get(), total.get());
    REQUIRE(emulatedGetLastError() == emulatedSuccess);
    REQUIRE(total.values()[0] == blocks * threads * (threads - 1) / 2);
    for (unsigned at = 0; at < blocks * threads; ++at) {
      const unsigned block = at / threads, i = at % threads, first = i / warp_lanes * warp_lanes;
      unsigned after = 0, vote = 0;
      for (unsigned j = first; j < first + warp_lanes; ++j) {
        if (j > i) after += j;
        if (j % 3 == 0) vote |= 1u << (j - first);
      }
      REQUIRE(reversed.values()[at] == block * threads + threads - 1 - i);
      REQUIRE(sums.values()[at] == after);
      REQUIRE(votes.values()[at] == vote);
    }
  }
}

TEST_CASE("emulated threads run by number, or in an order that a seed gives", "[gpu]") {
  const std::vector<unsigned> by_number = numbered_in_order();
  for (unsigned i = 0; i < by_number.size(); ++i) REQUIRE(by_number[i] == i);
  std::vector<unsigned> first;
  {
    const Environment environment("IVF_EMULATED_ORDER", "1");
    first = numbered_in_order();
    REQUIRE(first != by_number);
    REQUIRE(numbered_in_order() == first);
  }
  const Environment environment("IVF_EMULATED_ORDER", "2");
  REQUIRE(numbered_in_order() != first);
}

TEST_CASE("the emulator notices misuse of barriers, shared memory and launches", "[gpu]") {
  launch_kernel(diverge, 1, 64, 0, nullptr);
  REQUIRE(emulatedGetLastError() == emulatedErrorBarrier);
  launch_kernel(write_past, 1, 1, 64, nullptr, 63u);
  REQUIRE(emulatedGetLastError() == emulatedSuccess);
  launch_kernel(write_past, 1, 1, 64, nullptr, 64u);
  REQUIRE(emulatedGetLastError() == emulatedErrorSharedMemory);
  launch_kernel(diverge, 0, 64, 0, nullptr);
  REQUIRE(emulatedGetLastError() == emulatedErrorLaunchConfiguration);
  launch_kernel(diverge, 1, 1025, 0, nullptr);
  REQUIRE(emulatedGetLastError() == emulatedErrorLaunchConfiguration);
  // More than 48 KiB only with leave.
  launch_kernel(write_past, 1, 1, 50 << 10, nullptr, 0u);
  REQUIRE(emulatedGetLastError() == emulatedErrorLaunchConfiguration);
  const auto* kernel = reinterpret_cast<const void*>(&write_past);
  REQUIRE(emulatedFuncSetAttribute(kernel, emulatedFuncAttributeMaxDynamicSharedMemorySize, 50 << 10) ==
          emulatedSuccess);
  launch_kernel(write_past, 1, 1, 50 << 10, nullptr, 0u);
  REQUIRE(emulatedGetLastError() == emulatedSuccess);
}

TEST_CASE("the emulator notices misuse of device memory", "[gpu]") {
  void* memory = nullptr;
  REQUIRE(emulatedMallocAsync(&memory, 100, nullptr) == emulatedSuccess);
  char host[200] = {};
  REQUIRE(emulatedMemcpyAsync(memory, host, 100, emulatedMemcpyHostToDevice, nullptr) == emulatedSuccess);
  REQUIRE(emulatedMemcpyAsync(memory, host, 101, emulatedMemcpyHostToDevice, nullptr) == emulatedErrorInvalidValue);
  REQUIRE(emulatedMemcpyAsync(memory, host, 100, emulatedMemcpyDeviceToHost, nullptr) == emulatedErrorInvalidValue);
  REQUIRE(emulatedMemsetAsync(memory, 0, 101, nullptr) == emulatedErrorInvalidValue);
  REQUIRE(emulatedFreeAsync(memory, nullptr) == emulatedSuccess);
  REQUIRE(emulatedFreeAsync(memory, nullptr) == emulatedErrorInvalidValue);
  REQUIRE(emulatedMemsetAsync(memory, 0, 1, nullptr) == emulatedErrorInvalidValue);
  emulatedGetLastError();
  REQUIRE(emulatedDeviceSynchronize() == emulatedSuccess);
  const char kept = *static_cast<char*>(memory);
  *static_cast<char*>(memory) = 0;
  REQUIRE(emulatedDeviceSynchronize() == emulatedErrorFreedMemory);
  REQUIRE(emulatedGetLastError() == emulatedErrorFreedMemory);
  *static_cast<char*>(memory) = kept;
}

TEST_CASE("emulated devices are counted, and each has its own memory", "[gpu]") {
  REQUIRE(detail::gpu::device_count() == 2);
  const Environment devices("IVF_EMULATED_DEVICES", "3");
  REQUIRE(detail::gpu::device_count() == 3);
  const Environment bytes("IVF_EMULATED_MEMORY", "100000000");
  const std::uint64_t before = detail::gpu::device_info(0).free_memory;
  REQUIRE(emulatedSetDevice(2) == emulatedSuccess);
  void* memory = nullptr;
  REQUIRE(emulatedMallocAsync(&memory, 1000, nullptr) == emulatedSuccess);
  REQUIRE(emulatedSetDevice(0) == emulatedSuccess);
  REQUIRE(detail::gpu::device_info(0).free_memory == before);
  REQUIRE(detail::gpu::device_info(2).free_memory == 100000000 - 1000);
  REQUIRE(emulatedFreeAsync(memory, nullptr) == emulatedSuccess);
  REQUIRE(detail::gpu::device_info(2).free_memory == 100000000);
  REQUIRE(emulatedMallocAsync(&memory, 100000001, nullptr) == emulatedErrorMemoryAllocation);
  REQUIRE(emulatedSetDevice(3) == emulatedErrorInvalidDevice);
  REQUIRE(emulatedGetLastError() == emulatedErrorMemoryAllocation);
}

TEST_CASE("results of the engine do not depend on the order of threads and blocks", "[gpu]") {
  shapes::Random random(77);
  const std::size_t n = 300, d = 20, nq = 12, k = 8;
  const ListedRows rows(Metric::l2, shapes::matrix(shapes::Kind::clustered, n, d, random), d, {},
                        std::vector<std::int32_t>(n, 0), 1, 1);
  const std::vector<float> queries = shapes::matrix(shapes::Kind::clustered, nq, d, random);
  for (const char* order : {"0", "5", "6"}) {
    const Environment environment("IVF_EMULATED_ORDER", order);
    for (const SearchMode mode : {SearchMode::matrix, SearchMode::csr}) {
      INFO("order " << order << " mode " << static_cast<int>(mode));
      Found found(nq, k);
      detail::gpu::SearchOptions options;
      options.k = k;
      options.mode = mode;
      options.tuning.first_rows = 64;
      engine().topk(rows.device(), {queries.data(), nq, 0, false}, {}, options, found.results(), nullptr);
      for (std::size_t q = 0; q < nq; ++q) {
        REQUIRE(difference(found, q, oracle::topk(Metric::l2, &queries[q * d], rows.rows(), rows.everything(0), k)) ==
                "");
      }
    }
  }
}

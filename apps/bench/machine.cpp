#include "bench/machine.h"

#include <gnu/libc-version.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <ctime>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "bench/cgroup.h"
#include "bench/files.h"

namespace ivf::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Seconds until the last of `threads` threads has done `work(thread)`, which all begin together.
double together(unsigned threads, const std::function<void(unsigned)>& work) {
  threads = std::max(threads, 1u);
  std::barrier<> gate(static_cast<std::ptrdiff_t>(threads));
  std::vector<double> seconds(threads);
  const auto body = [&](unsigned thread) {
    gate.arrive_and_wait();
    const auto start = Clock::now();
    work(thread);
    seconds[thread] = seconds_since(start);
  };
  std::vector<std::thread> others;
  others.reserve(threads - 1);
  for (unsigned thread = 1; thread < threads; ++thread) others.emplace_back(body, thread);
  body(0);
  for (std::thread& other : others) other.join();
  return *std::max_element(seconds.begin(), seconds.end());
}

/// Enough independent sums to keep the arithmetic units busy, over numbers that fit the second-level cache: slowed by a
/// neighbour on the same core as well as by one that takes the core away. (The machine is timed, not a sanitizer.)
[[gnu::no_sanitize("address", "thread", "undefined")]] float arithmetic(const float* numbers, std::size_t count,
                                                                        int passes) {
  constexpr std::size_t lanes = 32;
  float sums[lanes] = {};
  for (int pass = 0; pass < passes; ++pass) {
    for (std::size_t i = 0; i + lanes <= count; i += lanes) {
      for (std::size_t j = 0; j < lanes; ++j) sums[j] = sums[j] * 0.5f + numbers[i + j];
    }
  }
  float sum = 0;
  for (const float lane : sums) sum += lane;
  return sum;
}

constexpr std::size_t probe_numbers = std::size_t{64} << 10;  // 256 KiB
// About 15 ms on current machines: several time slices of a busy one.
constexpr int probe_passes = 1600;

std::uint64_t kilobytes(const std::string& text, std::string_view key) {
  return number_in(value_of(text, key)).value_or(0) * 1024;
}

}  // namespace

double probe_ms(unsigned threads) {
  static const std::vector<float> numbers(probe_numbers, 1.0f);
  std::vector<float> sinks(std::max(threads, 1u));
  const double seconds = together(
      threads, [&](unsigned thread) { sinks[thread] = arithmetic(numbers.data(), numbers.size(), probe_passes); });
  return sinks[0] > 0 ? seconds * 1e3 : 0;
}

double read_bandwidth(unsigned threads) {
  constexpr std::size_t words = std::size_t{32} << 20;  // 256 MiB in all: more than any cache.
  threads = std::max(threads, 1u);
  const std::size_t share = words / threads;
  std::vector<std::uint64_t> buffer(share * threads, 1);
  std::vector<std::uint64_t> sums(threads);
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const double seconds = together(threads, [&](unsigned thread) {
      const std::uint64_t* data = buffer.data() + thread * share;
      std::uint64_t sum[8] = {};
      for (std::size_t i = 0; i + 8 <= share; i += 8) {
        for (std::size_t j = 0; j < 8; ++j) sum[j] += data[i + j];
      }
      for (const std::uint64_t part : sum) sums[thread] += part;
    });
    best = std::max(best, static_cast<double>(buffer.size() * sizeof(std::uint64_t)) / seconds);
  }
  // What was read has been used.
  return sums[0] == 0 ? 0 : best;
}

PeakMemory::PeakMemory() {
  // 5: reset the peak to what is resident now.
  std::ofstream("/proc/self/clear_refs") << "5";
}

std::uint64_t PeakMemory::bytes() const { return kilobytes(read_text("/proc/self/status"), "VmHWM"); }

std::uint64_t resident_bytes() { return kilobytes(read_text("/proc/self/status"), "VmRSS"); }

std::uint64_t total_memory_bytes() {
  return std::min(kilobytes(read_text("/proc/meminfo"), "MemTotal"), Cgroup().memory_limit().value_or(UINT64_MAX));
}

std::uint64_t available_memory_bytes() { return kilobytes(read_text("/proc/meminfo"), "MemAvailable"); }

std::string host_os() {
  utsname name{};
  uname(&name);
  return fmt::format("{} {}", name.sysname, name.release);
}

std::string host_platform() {
  utsname name{};
  uname(&name);
  return fmt::format("{}-{}-{}-with-glibc{}", name.sysname, name.release, name.machine, gnu_get_libc_version());
}

std::string host_cpu() {
  const std::string model = value_of(read_text("/proc/cpuinfo"), "model name");
  if (!model.empty()) return model;
  utsname name{};
  uname(&name);
  return name.machine;
}

std::string utc_timestamp() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace ivf::bench

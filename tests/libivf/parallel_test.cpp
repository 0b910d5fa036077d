// The threads that share the work of a search: none of them misses a job, whether it was awake when the job came or
// not.

#include "parallel.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "support/catch.hpp"

using namespace ivf::detail;

namespace {

using Clock = std::chrono::steady_clock;

// A thread that waits for a job looks for it for some time and then sleeps: pauses shorter, about as long, and longer.
constexpr std::array kPauses = {std::chrono::microseconds(0), std::chrono::microseconds(30),
                                std::chrono::microseconds(60), std::chrono::microseconds(300)};

/// Jobs for up to `most` threads, one after the other, for a while; a job that is not done by all hangs the test.
std::size_t run_jobs(unsigned most, std::chrono::milliseconds length) {
  const auto end = Clock::now() + length;
  std::size_t jobs = 0;
  for (; Clock::now() < end; ++jobs) {
    const unsigned threads = 2 + static_cast<unsigned>(jobs) % (most - 1);
    std::atomic<unsigned> seen{0};
    run_threads(threads, [&](unsigned thread, unsigned team) {
      if (team == threads) seen.fetch_or(1u << thread);
    });
    REQUIRE(seen.load() == (1u << threads) - 1);
    const auto until = Clock::now() + kPauses[jobs % kPauses.size()];
    while (Clock::now() < until) {
    }
  }
  return jobs;
}

std::chrono::milliseconds length_of_test() {
  const char* seconds = std::getenv("IVF_TEST_SECONDS");
  return seconds != nullptr ? std::chrono::seconds(std::atoi(seconds)) : std::chrono::milliseconds(700);
}

}  // namespace

TEST_CASE("threads: every job is done by all of its threads, awake or asleep when it came") {
  const std::size_t jobs = run_jobs(5, length_of_test());
  WARN(jobs << " jobs");
  CHECK(jobs > 0);
}

TEST_CASE("threads: two callers at once have threads each") {
  std::atomic<std::size_t> jobs{0};
  std::thread other([&] {
    for (int i = 0; i < 200; ++i) {
      std::atomic<unsigned> seen{0};
      run_threads(3, [&](unsigned thread, unsigned) { seen.fetch_or(1u << thread); });
      if (seen.load() == 7) ++jobs;
    }
  });
  run_jobs(3, length_of_test() / 2);
  other.join();
  CHECK(jobs.load() == 200);
}

TEST_CASE("threads: what one of them throws, the caller gets, and the next job is done") {
  for (unsigned thrower = 0; thrower < 3; ++thrower) {
    const auto run = [&] {
      run_threads(3, [&](unsigned thread, unsigned) {
        if (thread == thrower) throw std::runtime_error("of a thread");
      });
    };
    CHECK_THROWS_AS(run(), std::runtime_error);
    run_jobs(3, std::chrono::milliseconds(5));
  }
}

// Linked in place of apps/bench/after_timed_call.cpp: makes every timed call IVF_TEST_SLOWDOWN times as long, by
// working.

#include <chrono>
#include <cstdlib>

#include "bench/measure.h"

namespace ivf::bench {

void after_timed_call(double milliseconds) {
  const char* text = std::getenv("IVF_TEST_SLOWDOWN");
  if (!text) return;
  const double more = milliseconds * (std::strtod(text, nullptr) - 1);
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double, std::milli>(more);
  while (Clock::now() < end) continue;
}

}  // namespace ivf::bench

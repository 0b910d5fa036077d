// Thousands of random operations on index files, at every level, against a plain list of rows.

#include <ctime>
#include <filesystem>

#include <fmt/format.h>

#include "life_cases.h"
#include "random_cases.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

TEST_CASE("life: whatever is done to an index, it answers like a plain list of rows") {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::clock_t start = std::clock();
  const double budget = seconds_for_cases(4);
  std::size_t steps = 0, before = 0, after = 0, largest = 0;
  for (std::uint64_t seed = 0; static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < budget; ++seed) {
    const auto all = levels();
    const ForcedLevel forced(all[seed % all.size()]);
    Life life(seed, {}, program);
    for (std::size_t i = 0; i < 60; ++i, ++steps) {
      const std::string wrong = life.step();
      if (!wrong.empty()) FAIL(wrong);
    }
    before += life.kills_before();
    after += life.kills_after();
    largest = std::max(largest, life.largest());
  }
  WARN(fmt::format("{} operations; {} kills left the old state, {} the new one; {} rows at most", steps, before, after,
                   largest));
  CHECK(steps > 0);
  // Of so many kills some come early and some late.
  if (before + after > 100) CHECK(std::min(before, after) > 0);
}

TEST_CASE("life: a process that dies", "[.][die]") { die_changing(); }

#include "parallel.h"

#include <atomic>
#include <stdexcept>
#include <vector>

#include "support/catch.hpp"

using ivf::format::parallel_tasks;

TEST_CASE("every task runs once on any number of threads") {
  for (const unsigned threads : {0u, 1u, 2u, 7u}) {
    for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{5}, std::size_t{100}}) {
      std::vector<std::atomic<int>> runs(count);
      parallel_tasks(threads, count, [&](std::size_t i) { ++runs[i]; });
      for (const auto& run : runs) CHECK(run == 1);
    }
  }
}

TEST_CASE("an exception in a task stops the rest and reaches the caller") {
  for (const unsigned threads : {1u, 3u}) {
    std::atomic<int> runs{0};
    CHECK_THROWS_AS(parallel_tasks(threads, 1000000,
                                   [&](std::size_t i) {
                                     ++runs;
                                     if (i == 10) throw std::runtime_error("no");
                                   }),
                    std::runtime_error);
    CHECK(runs < 1000000);
  }
}

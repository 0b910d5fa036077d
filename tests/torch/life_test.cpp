// The life of index files that are searched on devices: everything that can be done to them, on every backend.

#include <ctime>

#include "backends.h"
#include "life_cases.h"
#include "random_cases.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

TEST_CASE("backends: whatever is done to an index, it answers like a plain list of rows") {
  for_each_backend([](const Tested& tested) {
    const std::clock_t start = std::clock();
    const double budget = seconds_for_cases(2);
    std::size_t steps = 0;
    for (std::uint64_t seed = 50; static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < budget; ++seed) {
      Life life(seed, tested.with(all_dtypes[seed % 3]));
      for (std::size_t i = 0; i < 20; ++i, ++steps) {
        const std::string wrong = life.step();
        if (!wrong.empty()) FAIL(tested.name << ": " << wrong);
      }
    }
    CHECK(steps > 0);
  });
}

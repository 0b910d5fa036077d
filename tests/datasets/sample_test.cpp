// The committed sample is what its description says.

#include <algorithm>
#include <cmath>

#include "fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::datasets::test;

TEST_CASE("sample: rows, queries and their exact neighbours") {
  const std::string path = IVF_SAMPLE_DIR "/mnist-sample.h5";
  const Matrix base = read_matrix(path);
  const Matrix queries = read_matrix(path, {.role = Role::queries});
  const Matrix distances = read_matrix(path, {.role = Role::distances});
  const std::vector<idx_t> neighbors = read_id_matrix(path, {.role = Role::neighbors});
  REQUIRE(base.rows() == 2000);
  REQUIRE(base.dim == 784);
  REQUIRE(queries.rows() == 200);
  REQUIRE(queries.dim == 784);
  REQUIRE(distances.rows() == 200);
  REQUIRE(distances.dim == 100);
  REQUIRE(neighbors.size() == 200 * 100);
  CHECK(open_reader(path)->element() == Element::u8);
  CHECK(stored_metric(path) == Metric::l2);

  // Squared distances of bytes are whole numbers, so that the order can be checked exactly.
  for (std::size_t q = 0; q < 200; ++q) {
    std::vector<std::pair<std::int64_t, idx_t>> all(2000);
    for (std::size_t row = 0; row < 2000; ++row) {
      std::int64_t sum = 0;
      for (std::size_t j = 0; j < 784; ++j) {
        const auto difference = static_cast<std::int64_t>(queries.values[q * 784 + j] - base.values[row * 784 + j]);
        sum += difference * difference;
      }
      all[row] = {sum, static_cast<idx_t>(row)};
    }
    std::partial_sort(all.begin(), all.begin() + 100, all.end());
    for (std::size_t i = 0; i < 100; ++i) {
      const double expected = std::sqrt(static_cast<double>(all[i].first));
      if (neighbors[q * 100 + i] != all[i].second) FAIL("query " << q << ", neighbour " << i);
      if (std::abs(distances.values[q * 100 + i] - expected) > 1e-6 * expected)
        FAIL("query " << q << ", distance " << i);
    }
  }
}

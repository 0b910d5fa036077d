// The limits that are stated are those that work: the largest dimension, the most lists, all of the ids, nothing at
// all.

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "ivf/index.hpp"
#include "support/catch.hpp"
#include "support/oracle.h"
#include "support/shapes.h"
#include "support/temporary_directory.h"

using namespace ivf;

namespace {

void check_query(const SearchResult& found, std::size_t q, const std::vector<oracle::Hit>& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    REQUIRE(found.ids[q * found.k + i] == expected[i].id);
    REQUIRE(found.distances[q * found.k + i] == expected[i].value);
  }
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("limits: 65,536 dimensions are trained, stored, loaded and searched, one more is refused") {
  constexpr std::size_t d = 65536, n = 24;
  shapes::Random random(1);
  const auto rows = shapes::matrix(shapes::Kind::normal, n, d, random);
  const MatrixView view{rows.data(), n, d};
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.ivf");
  const Metric metric = GENERATE(Metric::l2, Metric::ip);
  {
    IndexIVFFlat index(d, 3, metric);
    index.train(view, {});
    index.add(view);
    index.save(path);
  }
  verify_index(path, true);
  const auto index = load_index(path);
  SearchParams params;
  params.k = 5;
  params.nprobe = 3;
  const SearchResult found = index->search(view.slice(0, 4), params);
  const oracle::Rows stored{rows, {}, d};
  for (std::size_t q = 0; q < 4; ++q) {
    check_query(found, q, oracle::topk(metric, view.row(q), stored, oracle::everything(n), 5));
  }
  CHECK(error_of([] { IndexFlat(65537, Metric::l2); }).find("65536") != std::string::npos);
}

TEST_CASE("limits: 2^20 lists are stored, loaded and searched, one more is refused") {
  constexpr std::size_t d = 2, nlist = std::size_t{1} << 20, n = 200;
  std::vector<float> centroids(nlist * d);
  for (std::size_t i = 0; i < nlist; ++i) {
    centroids[2 * i] = static_cast<float>(i % 1024);
    centroids[2 * i + 1] = static_cast<float>(i / 1024);
  }
  shapes::Random random(2);
  std::vector<float> rows(n * d);
  for (float& value : rows) value = static_cast<float>(random.unit() * 1023);
  const MatrixView view{rows.data(), n, d};
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.ivf");
  {
    IndexIVFFlat index(d, nlist, Metric::l2);
    index.set_centroids({centroids.data(), nlist, d});
    index.add(view);
    index.save(path);
  }
  const auto index = load_index(path);
  CHECK(index->info().nlist == nlist);
  SearchParams params;
  params.nprobe = 4;
  params.k = 1;
  const SearchResult found = index->search(view, params);
  for (std::size_t q = 0; q < n; ++q) check_query(found, q, {{0.0f, static_cast<idx_t>(q)}});
  CHECK(error_of([] { IndexIVFFlat(2, nlist + 1, Metric::l2); }).find("1048576") != std::string::npos);
}

TEST_CASE("limits: ids over their whole range, doubled ones, and -1 refused") {
  using Limits = std::numeric_limits<idx_t>;
  const std::vector<float> rows{1, 1, 1, 1, 2};
  const std::vector<idx_t> ids{Limits::max(), Limits::min(), -2, Limits::min(), 0};
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.ivf");
  IndexFlat index(1, Metric::l2);
  index.add_with_ids({rows.data(), 5, 1}, ids);
  index.save(path);
  const float query = 1;
  SearchParams params;
  params.k = 6;
  const SearchResult found = load_index(path)->search({&query, 1, 1}, params);
  CHECK(found.ids == std::vector<idx_t>{Limits::min(), Limits::min(), -2, Limits::max(), 0, -1});
  const std::vector<idx_t> missing{-1};
  CHECK(error_of([&] { index.add_with_ids({rows.data(), 1, 1}, missing); }) != "");
  CHECK(index.size() == 5);
}

TEST_CASE("limits: no rows, one row, and more lists than rows") {
  const std::vector<float> row{3, 4};
  const MatrixView one{row.data(), 1, 2};
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.ivf");
  for (const std::size_t rows : {0u, 1u}) {
    IndexIVFFlat index(2, 5, Metric::l2);
    index.set_centroids({std::vector<float>(10, 1.0f).data(), 5, 2});
    if (rows > 0) index.add(one);
    index.save(path);
    verify_index(path, true);
    SearchParams params;
    params.k = 2;
    params.nprobe = 5;
    const SearchResult found = load_index(path)->search(one, params);
    CHECK(found.ids == std::vector<idx_t>{rows > 0 ? 0 : -1, -1});
    CHECK(found.distances[1] == std::numeric_limits<float>::infinity());
  }
}

TEST_CASE("limits: distances that overflow are infinite and ordered") {
  // (3e38)^2 is no float32; the two largest differ from the query by less than that.
  const std::vector<float> rows{3e38f, -3e38f, 0, 1e-42f};
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.ivf");
  IndexFlat index(1, Metric::l2);
  index.add({rows.data(), 4, 1});
  index.save(path);
  const float query = 1e-42f;
  SearchParams params;
  params.k = 4;
  const SearchResult found = load_index(path)->search({&query, 1, 1}, params);
  CHECK(found.ids == std::vector<idx_t>{2, 3, 0, 1});  // Equal distances (0, then infinity) by id.
  CHECK(found.distances[2] == std::numeric_limits<float>::infinity());
  CHECK(found.distances[3] == std::numeric_limits<float>::infinity());
}

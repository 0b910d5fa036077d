// The index classes: parameters, errors, additions, and what stays the same whatever the way in.

#include "ivf/index.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "engine_fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

namespace {

Scene small_scene(Metric metric = Metric::l2, std::size_t n = 120, std::size_t d = 5) {
  shapes::Random random(11);
  Scene scene;
  scene.metric = metric;
  scene.d = d;
  scene.nlist = 6;
  scene.rows = shapes::matrix(shapes::Kind::normal, n, d, random);
  scene.centroids = shapes::matrix(shapes::Kind::normal, scene.nlist, d, random);
  scene.queries = shapes::matrix(shapes::Kind::normal, 8, d, random);
  scene.prepare();
  return scene;
}

SearchParams params_of(std::size_t k, std::size_t nprobe) {
  SearchParams params;
  params.k = k;
  params.nprobe = nprobe;
  return params;
}

}  // namespace

TEST_CASE("an empty index returns nothing but padding") {
  const Scene scene = small_scene();
  for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    const IndexFlat index(5, metric);
    CHECK(index.is_trained());
    const auto result = index.search(scene.query_view(), params_of(3, 1));
    for (std::size_t q = 0; q < 8; ++q) {
      CHECK(difference(result, q, std::vector<oracle::Hit>(3, oracle::missing(metric))) == "");
    }
    CHECK(index.range_search(scene.query_view(), 1).lims == std::vector<std::uint64_t>(9));
  }
  const auto ivf = scene.empty_ivf();
  CHECK(ivf.search(scene.query_view(), params_of(2, 3)).ids == std::vector<idx_t>(16, -1));
  CHECK(ivf.search(MatrixView(nullptr, 0, 5), params_of(2, 3)).ids.empty());
  CHECK(ivf.info().rows == 0);
  CHECK(ivf.info().imbalance == 1);
}

TEST_CASE("adding in one call or in many gives the same results and lists") {
  for (const Metric metric : {Metric::l2, Metric::cosine}) {
    const Scene scene = small_scene(metric);
    const auto whole = scene.ivf();
    const auto expected = whole.search(scene.query_view(), params_of(20, 4));
    for (const std::size_t pieces : {2, 7, 120}) {
      const auto index = scene.ivf(pieces);
      CHECK(index.size() == 120);
      CHECK(same_results(index.search(scene.query_view(), params_of(20, 4)), expected));
      for (std::size_t l = 0; l < scene.nlist; ++l) {
        CHECK(index.list_ids(l) == whole.list_ids(l));
        CHECK(same_bits(index.list_vectors(l), whole.list_vectors(l)));
      }
    }
  }
}

TEST_CASE("thousands of small additions leave few segments") {
  shapes::Random random(12);
  const auto rows = shapes::matrix(shapes::Kind::normal, 3000, 4, random);
  IndexFlat index(4, Metric::l2);
  for (std::size_t i = 0; i < 3000; ++i) index.add({rows.data() + i * 4, 1, 4});
  CHECK(index.size() == 3000);
  CHECK(index.info().segments <= 13);
  IndexFlat once(4, Metric::l2);
  once.add({rows.data(), 3000, 4});
  CHECK(same_results(index.search({rows.data(), 20, 4}), once.search({rows.data(), 20, 4})));
}

TEST_CASE("segments with and without lo planes merge") {
  IndexFlat index(2, Metric::l2);
  const std::vector<float> integers{1, 2, 3, 4}, fractions{0.1f, 0.2f};
  index.add({integers.data(), 2, 2});
  index.add({fractions.data(), 1, 2});
  index.add({integers.data(), 2, 2});
  const auto result = index.search({fractions.data(), 1, 2}, params_of(5, 1));
  CHECK(result.ids == std::vector<idx_t>{2, 0, 3, 1, 4});
  CHECK(result.distances[0] == 0);
}

TEST_CASE("ids of the caller, any but -1, shared ones too") {
  Scene scene = small_scene();
  scene.ids.assign(scene.n(), 7);
  scene.ids[0] = std::numeric_limits<idx_t>::min();
  scene.ids[1] = std::numeric_limits<idx_t>::max();
  scene.ids[2] = -2;
  const auto index = scene.flat();
  const auto result = index.search(scene.query_view(), params_of(120, 1));
  for (std::size_t q = 0; q < scene.nq(); ++q) {
    CHECK(difference(result, q,
                     oracle::topk(Metric::l2, scene.stored_query(q), scene.stored(), oracle::everything(120), 120)) ==
          "");
  }
  auto other = scene.empty_ivf();
  scene.ids[5] = -1;
  CHECK(error_of([&] { other.add_with_ids(scene.row_view(), scene.ids); }) ==
        "misuse: expected ids other than -1, found -1 for row 5; -1 marks missing results");
  CHECK(error_of([&] { other.add_with_ids(scene.row_view(), std::span(scene.ids).first(3)); }) ==
        "misuse: expected one id for each of 120 rows, found 3 ids; pass equally many");
  CHECK(other.size() == 0);
}

TEST_CASE("non-finite values are refused with row and column, and nothing changes") {
  Scene scene = small_scene();
  auto index = scene.ivf();
  for (const float bad :
       {std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    auto rows = scene.rows;
    rows[17 * 5 + 3] = bad;
    rows[60 * 5] = bad;
    const MatrixView view(rows.data(), 120, 5);
    const std::string found = std::isnan(bad) ? "nan" : bad < 0 ? "-inf" : "inf";
    const std::string tail = " in row 17, column 3 of the ";
    for (const unsigned threads : {1u, 7u}) {
      RunOptions options;
      options.threads = threads;
      SearchParams params;
      params.threads = threads;
      CHECK(error_of([&] { index.add(view, options); }) ==
            "misuse: expected finite values, found " + found + tail + "rows; remove or replace such values");
      CHECK(error_of([&] { index.search(view, params); }) ==
            "misuse: expected finite values, found " + found + tail + "queries; remove or replace such values");
      CHECK(error_of([&] { index.assign(view, options); }) ==
            "misuse: expected finite values, found " + found + tail + "rows; remove or replace such values");
    }
    CHECK(error_of([&] { IndexIVFFlat(5, 4, Metric::l2).train(view); }) ==
          "misuse: expected finite values, found " + found + tail + "training rows; remove or replace such values");
  }
  CHECK(index.size() == 120);
}

TEST_CASE("the largest floats are stored, found and ordered") {
  const float most = std::numeric_limits<float>::max();
  const std::vector<float> rows{most, -most, 0, 0, -most, most, 1, 1};
  for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    Scene scene;
    scene.metric = metric;
    scene.d = 2;
    scene.rows = scene.queries = rows;
    scene.prepare();
    const auto result = scene.flat().search(scene.query_view(), params_of(4, 1));
    for (std::size_t q = 0; q < 4; ++q) {
      CHECK(difference(result, q,
                       oracle::topk(metric, scene.stored_query(q), scene.stored(), oracle::everything(4), 4)) == "");
    }
  }
}

TEST_CASE("strided rows and queries are read in place") {
  const Scene scene = small_scene();
  std::vector<float> wide(120 * 9, std::nanf(""));
  for (std::size_t i = 0; i < 120; ++i) std::copy_n(scene.rows.data() + i * 5, 5, wide.data() + i * 9);
  const MatrixView view(wide.data(), 120, 5, 9);
  auto index = scene.empty_ivf();
  index.add(view);
  const auto params = params_of(4, 3);
  CHECK(same_results(index.search(view, params), scene.ivf().search(scene.row_view(), params)));
  IndexIVFFlat a(5, 4, Metric::cosine), b(5, 4, Metric::cosine);
  a.train(view);
  b.train(scene.row_view());
  CHECK(same_bits(a.centroids(), b.centroids()));
  CHECK(error_of([&] { index.add(MatrixView(wide.data(), 3, 5, 4)); }) ==
        "misuse: expected rows with data and a stride of at least 5, found a valid pointer and stride 4");
}

TEST_CASE("wrong parameters are refused in one line") {
  const Scene scene = small_scene();
  auto index = scene.ivf();
  const std::vector<float> three(3);
  CHECK(error_of([&] { index.search(MatrixView(three.data(), 1, 3)); }) ==
        "misuse: expected queries of dimension 5, found dimension 3; use data that match the index");
  CHECK(error_of([&] { index.add(MatrixView(three.data(), 1, 3)); }) ==
        "misuse: expected rows of dimension 5, found dimension 3; use data that match the index");
  CHECK(error_of([&] { index.search(scene.query_view(), params_of(0, 1)); }) ==
        "misuse: expected k of 1 to 16384, found 0");
  CHECK(error_of([&] { index.search(scene.query_view(), params_of(16385, 1)); }) ==
        "misuse: expected k of 1 to 16384, found 16385");
  CHECK(error_of([&] { index.search(scene.query_view(), params_of(1, 0)); }) ==
        "misuse: expected nprobe of at least 1, found 0");
  SearchParams many = params_of(1, 1);
  many.threads = 4097;
  CHECK(error_of([&] { index.search(scene.query_view(), many); }) ==
        "misuse: expected at most 4096 threads, found 4097");
  CHECK(error_of([&] { IndexFlat(0, Metric::l2); }) == "misuse: expected a dimension of 1 to 65536, found 0");
  CHECK(error_of([&] { IndexFlat(65537, Metric::l2); }) == "misuse: expected a dimension of 1 to 65536, found 65537");
  CHECK(error_of([&] { IndexIVFFlat(5, 0, Metric::l2); }) == "misuse: expected nlist of 1 to 1048576, found 0");
  CHECK(error_of([&] { index.list_ids(6); }) == "misuse: expected a list of 0 to 5, found 6");
  CHECK(error_of([&] {
          index.set_centroids({scene.centroids.data(), 6, 5});
        }) == "misuse: expected an index without rows to set centroids, found 120 rows; reset it first");
  CHECK(error_of([&] { index.train(scene.row_view()); }) ==
        "misuse: expected an index without rows to train, found 120 rows; reset it first");
  CHECK(error_of([&] {
          IndexIVFFlat(5, 6, Metric::l2).set_centroids({scene.centroids.data(), 5, 5});
        }) == "misuse: expected 6 centroids (nlist), found 5");

  const std::string untrained =
      "misuse: expected a trained index, found one of 6 lists without centroids; train it or set its centroids first";
  IndexIVFFlat raw(5, 6, Metric::l2);
  CHECK_FALSE(raw.is_trained());
  CHECK(error_of([&] { raw.add(scene.row_view()); }) == untrained);
  CHECK(error_of([&] { raw.search(scene.query_view()); }) == untrained);
  CHECK(error_of([&] { raw.assign(scene.row_view()); }) == untrained);
  CHECK(error_of([&] { raw.centroids(); }) == untrained);
}

TEST_CASE("reset removes the rows and keeps the training") {
  const Scene scene = small_scene();
  auto index = scene.ivf(3);
  const auto before = index.search(scene.query_view(), params_of(9, 2));
  index.reset();
  CHECK(index.size() == 0);
  CHECK(index.is_trained());
  CHECK(index.search(scene.query_view(), params_of(1, 6)).ids == std::vector<idx_t>(8, -1));
  scene.add_to(index, 0, scene.n());
  CHECK(same_results(index.search(scene.query_view(), params_of(9, 2)), before));
}

TEST_CASE("assign names the list that a row is added to") {
  for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    const Scene scene = small_scene(metric);
    const auto expected = oracle::assign(metric, scene.stored(), scene.stored_centroids());
    const auto found = scene.empty_ivf().assign(scene.row_view());
    CHECK(std::equal(found.begin(), found.end(), expected.begin(), expected.end()));
  }
}

TEST_CASE("info counts rows, segments and list sizes") {
  const Scene scene = small_scene();
  const auto info = scene.ivf().info();
  CHECK(info.metric == Metric::l2);
  CHECK(info.dim == 5);
  CHECK(info.nlist == 6);
  CHECK_FALSE(info.flat);
  CHECK(info.rows == 120);
  CHECK(info.segments == 1);
  CHECK(info.metadata == R"({"centroids":"given"})");
  const oracle::InvertedFile lists(Metric::l2, scene.stored(), scene.stored_centroids());
  double squares = 0;
  for (std::size_t l = 0; l < 6; ++l) {
    CHECK(info.list_sizes[l] == lists.lists()[l].size());
    squares += std::pow(static_cast<double>(lists.lists()[l].size()), 2);
  }
  CHECK(std::abs(info.imbalance - 6 * squares / (120.0 * 120.0)) < 1e-12);
  CHECK(scene.flat().info().flat);
}

TEST_CASE("a progress callback that throws abandons an addition without effect") {
  const Scene scene = small_scene();
  auto index = scene.ivf();
  RunOptions options;
  options.progress = [](const char*, std::uint64_t, std::uint64_t) { throw std::runtime_error("stop"); };
  CHECK_THROWS_AS(index.add(scene.row_view(), options), std::runtime_error);
  CHECK(index.size() == 120);
  TrainParams params;
  params.progress = options.progress;
  IndexIVFFlat fresh(5, 6, Metric::l2);
  CHECK_THROWS_AS(fresh.train(scene.row_view(), params), std::runtime_error);
  CHECK_FALSE(fresh.is_trained());
}

TEST_CASE("normalize_rows equals the oracle and refuses non-finite values") {
  const Scene scene = small_scene();
  auto rows = scene.rows;
  rows[0] = rows[1] = rows[2] = rows[3] = rows[4] = 0;
  const auto expected = oracle::normalized(rows, 5);
  normalize_rows(rows.data(), 120, 5);
  CHECK(same_bits(rows, expected));
  rows[7] = std::nanf("");
  CHECK(error_of([&] { normalize_rows(rows.data(), 120, 5); }) ==
        "misuse: expected finite values, found nan in row 1, column 2 of the rows; remove or replace such values");
}

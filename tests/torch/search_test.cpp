// Every backend against the oracle: searches in every mode, metric and type, in lists and flat.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "backends.h"
#include "random_cases.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void report(const Tested& tested, const Tolerance& tolerance) {
  INFO(tested.name << ": " << tolerance.off << " of " << tolerance.compared << " values are not equal to the bit");
  CHECK(tolerance.off * 10000 <= tolerance.compared);
}

/// One random case in every mode; returns what is wrong.
std::string check_case(const Tested& tested, const CaseKind& kind, std::uint64_t seed, Tolerance& tolerance) {
  const RandomCase one(kind, seed);
  shapes::Random random(seed, 79);
  const DeviceType dtype = all_dtypes[random.below(3)];
  const Placement placement = tested.with(dtype);
  const auto ivf = one.scene().ivf(random.between(1, 4), placement);
  const auto flat = one.scene().flat(random.between(1, 3), placement);
  std::string wrong = one.check_lists(ivf);
  for (const SearchMode mode : all_modes) {
    const auto threads = random.pick(std::vector<unsigned>{1, 2, 3});
    if (wrong.empty()) wrong = one.check(ivf, flat, mode, threads, &tolerance);
  }
  return wrong.empty() ? "" : fmt::format("{}, dtype {}: {}", tested.name, static_cast<int>(dtype), wrong);
}

/// The oracle's results of a search of a scene.
std::vector<std::vector<oracle::Hit>> expected_of(const Scene& scene, const SearchParams& params) {
  const oracle::InvertedFile lists(scene.metric, scene.stored(), scene.stored_centroids());
  std::vector<std::vector<oracle::Hit>> expected;
  for (std::size_t q = 0; q < scene.nq(); ++q) {
    const auto candidates = lists.candidates(scene.stored_query(q), params.nprobe, params.max_codes);
    expected.push_back(oracle::topk(scene.metric, scene.stored_query(q), scene.stored(), candidates, params.k));
  }
  return expected;
}

/// The first difference between results and what is expected.
std::string first_difference(const SearchResult& result, const std::vector<std::vector<oracle::Hit>>& expected,
                             Tolerance& tolerance) {
  if (result.nq != expected.size()) return fmt::format("expected {} queries, found {}", expected.size(), result.nq);
  for (std::size_t q = 0; q < expected.size(); ++q) {
    const std::string wrong = difference(result, q, expected[q], &tolerance);
    if (!wrong.empty()) return fmt::format("query {}: {}", q, wrong);
  }
  return "";
}

/// Searches an index of the scene in every mode and compares with the oracle.
void check_modes(const Index& index, const Scene& scene, SearchParams params, Tolerance& tolerance) {
  const auto expected = expected_of(scene, params);
  for (const SearchMode mode : all_modes) {
    INFO("mode " << static_cast<int>(mode));
    params.mode = mode;
    CHECK(first_difference(index.search(scene.query_view(), params), expected, tolerance) == "");
  }
}

}  // namespace

TEST_CASE("every backend equals the oracle on random and adversarial shapes") {
  const auto cases = case_kinds(20261122);
  for_each_backend([&](const Tested& tested) {
    const auto start = Clock::now();
    const double budget = seconds_for_cases(3);
    Tolerance tolerance = tolerance_of(tested);
    std::size_t done = 0;
    std::string wrong;
    for (; wrong.empty() && seconds_since(start) < budget; ++done) {
      wrong = check_case(tested, cases[done % cases.size()], done, tolerance);
    }
    CHECK(wrong == "");
    report(tested, tolerance);
    WARN(tested.name << ": " << done << " random cases of " << cases.size() << " combinations, " << tolerance.off
                     << " of " << tolerance.compared << " values not equal to the bit");
  });
}

TEST_CASE("every backend equals the oracle when lists and batches are large") {
  for (const Metric metric : all_metrics) {
    const Scene scene = large_scene(metric, fewer_if_emulated(6000), 40, 12, fewer_if_emulated(150), 5);
    SearchParams params;
    params.k = 20;
    params.nprobe = 4;
    params.threads = 2;
    const auto expected = expected_of(scene, params);
    for_each_backend([&](const Tested& tested) {
      const auto index = scene.ivf(3, tested.placement);
      Tolerance tolerance = tolerance_of(tested);
      for (const SearchMode mode : all_modes) {
        for (const std::uint64_t memory : {std::uint64_t{0}, std::uint64_t{2000000}}) {
          INFO(tested.name << " " << metric_name(metric) << " mode " << static_cast<int>(mode) << " memory " << memory);
          params.mode = mode;
          params.max_memory = memory;
          CHECK(first_difference(index.search(scene.query_view(), params), expected, tolerance) == "");
        }
      }
      report(tested, tolerance);
    });
  }
}

TEST_CASE("every backend equals the native one on batches of many queries") {
  // Larger than the oracle has time for; the native backend answers to it elsewhere.
  shapes::Random random(34);
  for (const auto kind :
       {shapes::Kind::normal, shapes::Kind::clustered, shapes::Kind::integers, shapes::Kind::offset}) {
    Scene scene;
    scene.metric = random.pick(std::vector<Metric>{Metric::l2, Metric::ip, Metric::cosine});
    scene.d = random.between(8, 48);
    scene.nlist = random.between(30, 120);
    scene.rows = shapes::matrix(kind, fewer_if_emulated(6000), scene.d, random);
    scene.queries = shapes::matrix(kind, fewer_if_emulated(250), scene.d, random);
    scene.centroids.assign(scene.rows.begin(), scene.rows.begin() + static_cast<std::ptrdiff_t>(scene.nlist * scene.d));
    scene.prepare();
    SearchParams params;
    params.k = random.between(1, 100);
    params.nprobe = random.between(1, 12);
    params.max_codes = random.below(2) * random.between(100, 2000);
    params.threads = 2;
    const auto expected = scene.ivf(3).search(scene.query_view(), params);
    for_each_backend([&](const Tested& tested) {
      if (!tested.on_device()) return;
      const auto index = scene.ivf(3, tested.with(all_dtypes[random.below(3)]));
      for (const SearchMode mode : {SearchMode::matrix, SearchMode::csr}) {
        params.mode = mode;
        params.max_memory = mode == SearchMode::csr ? random.between(1000000, 20000000) : 0;
        INFO(tested.name << " " << metric_name(scene.metric) << " " << shapes::name(kind) << " mode "
                         << static_cast<int>(mode) << " memory " << params.max_memory);
        CHECK(same_results(index.search(scene.query_view(), params), expected));
      }
    });
  }
}

TEST_CASE("every backend cuts at the same row") {
  const Scene scene = large_scene(Metric::l2, 90, 3, 7, 4, 6);
  SearchParams params;
  params.k = 95;
  params.nprobe = 7;
  for_each_backend([&](const Tested& tested) {
    const auto index = scene.ivf(2, tested.placement);
    Tolerance tolerance = tolerance_of(tested);
    for (const std::uint64_t cap : {1, 2, 3, 7, 20, 33, 48, 64, 77, 89, 90, 91}) {
      params.max_codes = cap;
      const auto expected = expected_of(scene, params);
      for (const SearchMode mode : all_modes) {
        INFO(tested.name << " cap " << cap << " mode " << static_cast<int>(mode));
        params.mode = mode;
        const auto result = index.search(scene.query_view(), params);
        CHECK(first_difference(result, expected, tolerance) == "");
        CHECK(result.stats.rows_scanned >= 4 * std::min<std::uint64_t>(cap, 90));
      }
    }
  });
}

TEST_CASE("every backend gives k beyond the rows, and the largest k") {
  const Scene scene = large_scene(Metric::ip, 3000, 4, 5, 3, 8);
  SearchParams params;
  params.nprobe = 5;
  for_each_backend([&](const Tested& tested) {
    const auto index = scene.ivf(1, tested.placement);
    Tolerance tolerance = tolerance_of(tested);
    for (const std::size_t k : {std::size_t{2999}, std::size_t{3001}, std::size_t{16384}}) {
      params.k = k;
      INFO(tested.name << " k " << k);
      check_modes(index, scene, params, tolerance);
    }
  });
}

TEST_CASE("every backend breaks ties of rounded values by id") {
  // Sums of squares of 784 values of 0 to 255 pass 2^24, where float32 numbers are 2 and more apart: many distances
  // that differ are the same float32 number. Near rows make distances that are equal, or one apart.
  shapes::Random random(31);
  Scene scene;
  scene.d = 784;
  scene.nlist = 3;
  const auto prototypes = shapes::matrix(shapes::Kind::integers, 4, scene.d, random);
  for (std::size_t i = 0; i < 400; ++i) {
    const auto row = prototypes.begin() + static_cast<std::ptrdiff_t>(i % 4 * scene.d);
    scene.rows.insert(scene.rows.end(), row, row + static_cast<std::ptrdiff_t>(scene.d));
    float& changed = scene.rows[i * scene.d + random.below(scene.d)];
    changed = changed > 0 ? changed - 1 : 1;
  }
  scene.centroids.assign(prototypes.begin(), prototypes.begin() + static_cast<std::ptrdiff_t>(3 * scene.d));
  scene.queries = shapes::matrix(shapes::Kind::integers, 6, scene.d, random);
  scene.prepare();
  SearchParams params;
  params.k = 120;
  params.nprobe = 3;
  const auto expected = expected_of(scene, params);
  CHECK(std::any_of(expected.begin(), expected.end(), [](const auto& hits) { return hits[0].value == hits[1].value; }));
  for_each_backend([&](const Tested& tested) {
    for (const DeviceType dtype : tested.dtypes()) {
      const auto index = scene.ivf(2, tested.with(dtype));
      Tolerance tolerance = tolerance_of(tested);
      for (const SearchMode mode : all_modes) {
        INFO(tested.name << " dtype " << static_cast<int>(dtype) << " mode " << static_cast<int>(mode));
        params.mode = mode;
        CHECK(first_difference(index.search(scene.query_view(), params), expected, tolerance) == "");
      }
    }
  });
}

TEST_CASE("every backend searches a range of everything, and of nothing") {
  const Scene scene = large_scene(Metric::l2, 500, 6, 4, 5, 9);
  SearchParams params;
  params.nprobe = 4;
  for_each_backend([&](const Tested& tested) {
    INFO(tested.name);
    const auto index = scene.ivf(2, tested.placement);
    Tolerance tolerance = tolerance_of(tested);
    const auto all = index.range_search(scene.query_view(), std::numeric_limits<float>::infinity(), params);
    REQUIRE(all.lims.back() == 5 * 500);
    for (std::size_t q = 0; q < 5; ++q) {
      const auto expected = oracle::ranked(Metric::l2, scene.stored_query(q), scene.stored(), oracle::everything(500));
      CHECK(difference(all, q, expected, &tolerance) == "");
    }
    CHECK(index.range_search(scene.query_view(), 0, params).ids.empty());
    CHECK(index.range_search(scene.query_view(), -1, params).lims == std::vector<std::uint64_t>(6));
  });
}

TEST_CASE("every backend searches an index without rows, and no queries") {
  const Scene scene = large_scene(Metric::cosine, 60, 5, 3, 4, 10);
  for_each_backend([&](const Tested& tested) {
    INFO(tested.name);
    auto index = scene.empty_ivf(tested.placement);
    SearchParams params;
    params.nprobe = 2;
    for (const SearchMode mode : all_modes) {
      params.mode = mode;
      CHECK(index.search(scene.query_view(), params).ids == std::vector<idx_t>(40, -1));
      CHECK(index.search(MatrixView(nullptr, 0, 5), params).ids.empty());
      CHECK(index.search_exact(scene.query_view(), params).ids == std::vector<idx_t>(40, -1));
      CHECK(index.range_search(scene.query_view(), -2, params).ids.empty());
    }
    IndexFlat flat(5, Metric::l2);
    flat.to(tested.placement);
    const auto result = flat.search(scene.query_view());
    CHECK(result.ids == std::vector<idx_t>(40, -1));
    CHECK(result.distances == std::vector<float>(40, std::numeric_limits<float>::infinity()));
  });
}

TEST_CASE("every backend finds its own rows in empty and crowded lists") {
  // All rows in one of many lists, and a centroid that nothing is near.
  shapes::Random random(32);
  Scene scene;
  scene.d = 9;
  scene.nlist = 20;
  scene.rows = shapes::matrix(shapes::Kind::normal, 700, scene.d, random);
  scene.centroids = shapes::matrix(shapes::Kind::normal, scene.nlist, scene.d, random);
  for (std::size_t i = scene.d; i < scene.centroids.size(); ++i) scene.centroids[i] += 1000;
  scene.queries.assign(scene.rows.begin(), scene.rows.begin() + 30 * 9);
  for (std::size_t i = 0; i < 9; ++i) scene.queries.push_back(1000);  // A query among the empty lists.
  scene.prepare();
  SearchParams params;
  params.k = 5;
  for_each_backend([&](const Tested& tested) {
    const auto index = scene.ivf(1, tested.placement);
    Tolerance tolerance = tolerance_of(tested);
    for (const std::size_t nprobe : {std::size_t{1}, std::size_t{19}, std::size_t{20}}) {
      params.nprobe = nprobe;
      INFO(tested.name << " nprobe " << nprobe);
      check_modes(index, scene, params, tolerance);
    }
  });
}

TEST_CASE("every backend orders the largest and the smallest numbers") {
  const float most = std::numeric_limits<float>::max(), least = std::numeric_limits<float>::denorm_min();
  const float half = 0x1.ff7p127f;  // Rounds up to infinity in 16 bits.
  for (const Metric metric : all_metrics) {
    Scene scene;
    scene.metric = metric;
    scene.d = 2;
    scene.rows = {most, -most, 0,     0,     -most, most, 1,     1,      half, half, -half, least,
                  0,    least, least, least, 1,     1,    least, -least, -0.f, -0.f, most,  most};
    scene.queries = scene.rows;
    scene.centroids = {0, 0, 1, 1, half, -half};
    scene.nlist = 3;
    scene.prepare();
    SearchParams params;
    params.k = 13;
    params.nprobe = 2;
    const auto expected = expected_of(scene, params);
    for_each_backend([&](const Tested& tested) {
      for (const DeviceType dtype : tested.dtypes()) {
        const auto index = scene.ivf(2, tested.with(dtype));
        Tolerance tolerance = tolerance_of(tested);
        for (const SearchMode mode : all_modes) {
          INFO(tested.name << " " << metric_name(metric) << " dtype " << static_cast<int>(dtype) << " mode "
                           << static_cast<int>(mode));
          params.mode = mode;
          CHECK(first_difference(index.search(scene.query_view(), params), expected, tolerance) == "");
        }
      }
    });
  }
}

TEST_CASE("every backend has more lists than rows") {
  shapes::Random random(33);
  for (const Metric metric : all_metrics) {
    Scene scene;
    scene.metric = metric;
    scene.d = 6;
    scene.nlist = 700;
    scene.rows = shapes::matrix(shapes::Kind::clustered, 90, scene.d, random);
    scene.centroids = shapes::matrix(shapes::Kind::clustered, scene.nlist, scene.d, random);
    scene.queries = shapes::matrix(shapes::Kind::clustered, 25, scene.d, random);
    scene.prepare();
    SearchParams params;
    for (const std::size_t nprobe : {std::size_t{3}, std::size_t{200}, std::size_t{700}}) {
      params.nprobe = nprobe;
      params.max_codes = nprobe == 200 ? 11 : 0;
      const auto expected = expected_of(scene, params);
      for_each_backend([&](const Tested& tested) {
        const auto index = scene.ivf(1, tested.placement);
        Tolerance tolerance = tolerance_of(tested);
        for (const SearchMode mode : all_modes) {
          INFO(tested.name << " " << metric_name(metric) << " nprobe " << nprobe << " mode " << static_cast<int>(mode));
          params.mode = mode;
          CHECK(first_difference(index.search(scene.query_view(), params), expected, tolerance) == "");
        }
      });
    }
  }
}

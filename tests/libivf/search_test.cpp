// Every level, mode, thread count and batch split against the oracle, on random and adversarial shapes.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <numeric>

#include "engine_fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

namespace {

constexpr SearchMode all_modes[] = {SearchMode::automatic, SearchMode::matrix, SearchMode::csr};
constexpr Metric all_metrics[] = {Metric::l2, Metric::ip, Metric::cosine};

/// Seconds of processor time that the random cases may take; IVF_TEST_SECONDS lengthens them.
double time_budget() {
  const char* seconds = std::getenv("IVF_TEST_SECONDS");
  return seconds != nullptr ? std::atof(seconds) : 20;
}

/// Ids that are neither dense nor sorted, some of them shared by rows.
std::vector<idx_t> scattered_ids(std::size_t n, shapes::Random& random) {
  std::vector<idx_t> ids(n);
  for (auto& id : ids) {
    id = random.below(4) == 0 ? static_cast<idx_t>(random.below(n)) : static_cast<idx_t>(random.bits());
    if (id == -1) id = 0;
  }
  return ids;
}

Scene random_scene(Metric metric, shapes::Kind kind, std::size_t d, shapes::Random& random) {
  Scene scene;
  scene.metric = metric;
  scene.d = d;
  const std::vector<std::size_t> counts{0, 1, 2, 31, 32, 33, 100, 257, 700, 1500};
  const std::size_t most = std::max<std::size_t>(40, 150000 / d);
  const std::size_t n = std::min(random.pick(counts), most);
  scene.nlist = random.pick(std::vector<std::size_t>{1, 2, 3, 7, 16, 40});
  scene.rows = shapes::matrix(kind, n, d, random);
  scene.centroids = shapes::matrix(random.below(2) == 0 ? kind : shapes::Kind::normal, scene.nlist, d, random);
  const std::size_t nq = random.pick(std::vector<std::size_t>{1, 2, 5, 9, 17});
  scene.queries = shapes::matrix(kind, nq, d, random);
  for (std::size_t q = 0; q < nq && n != 0; q += 2) {  // Rows as queries: distance zero and exact ties.
    const std::size_t row = random.below(n);
    std::copy_n(scene.rows.begin() + static_cast<std::ptrdiff_t>(row * d), d,
                scene.queries.begin() + static_cast<std::ptrdiff_t>(q * d));
  }
  if (random.below(3) == 0) scene.ids = scattered_ids(n, random);
  scene.prepare();
  return scene;
}

/// A radius that some rows are within: the value of a hit, so that equality is met too.
float some_radius(Metric metric, const std::vector<std::vector<oracle::Hit>>& expected, shapes::Random& random) {
  const auto& hits = expected[random.below(expected.size())];
  const auto& hit = hits[random.below(hits.size())];
  return hit.id == -1 ? (metric == Metric::l2 ? 1.0f : 0.0f) : hit.value;
}

/// One random case; returns what is wrong.
std::string check_case(Metric metric, shapes::Kind kind, std::size_t d, std::uint64_t seed) {
  shapes::Random random(seed, 77);
  const Scene scene = random_scene(metric, kind, d, random);
  const oracle::Rows rows = scene.stored();
  const oracle::InvertedFile lists(metric, rows, scene.stored_centroids());
  SearchParams params;
  params.k = random.pick(std::vector<std::size_t>{1, 2, 10, 33, 100, scene.n() + 3});
  params.nprobe = random.pick(std::vector<std::size_t>{1, 2, 5, scene.nlist, scene.nlist + 9});
  params.max_codes = random.below(3) == 0 ? random.between(1, scene.n() + 1) : 0;
  params.max_memory = random.below(3) == 0 ? random.between(1, 200000) : 0;
  const std::string about =
      fmt::format("{} {} d={} seed={} n={} nlist={} nq={} k={} nprobe={} max_codes={} max_memory={}",
                  metric_name(metric), shapes::name(kind), d, seed, scene.n(), scene.nlist, scene.nq(), params.k,
                  params.nprobe, params.max_codes, params.max_memory);

  std::vector<std::vector<std::size_t>> candidates;
  std::vector<std::vector<oracle::Hit>> expected, exact;
  const auto everything = oracle::everything(scene.n());
  for (std::size_t q = 0; q < scene.nq(); ++q) {
    candidates.push_back(lists.candidates(scene.stored_query(q), params.nprobe, params.max_codes));
    expected.push_back(oracle::topk(metric, scene.stored_query(q), rows, candidates[q], params.k));
    exact.push_back(oracle::topk(metric, scene.stored_query(q), rows, everything, params.k));
  }
  const float radius = some_radius(metric, expected, random);

  for (const auto& level : levels()) {
    const ForcedLevel forced(level);
    const auto ivf = scene.ivf(random.between(1, 4));
    const auto flat = scene.flat(random.between(1, 3));
    for (std::size_t l = 0; l < scene.nlist; ++l) {
      std::vector<idx_t> ids;
      for (const std::size_t i : lists.lists()[l]) ids.push_back(rows.id(i));
      if (ivf.list_ids(l) != ids) return fmt::format("{}: level {}: list {} differs", about, level, l);
    }
    for (const SearchMode mode : all_modes) {
      params.mode = mode;
      params.threads = random.pick(std::vector<unsigned>{1, 2, 7});
      const auto result = ivf.search(scene.query_view(), params);
      const auto in_all = ivf.search_exact(scene.query_view(), params);
      SearchParams unlimited = params;
      unlimited.max_codes = 0;
      const auto in_flat = flat.search(scene.query_view(), unlimited);
      const auto in_range = ivf.range_search(scene.query_view(), radius, params);
      const std::string how =
          fmt::format("{}: level {} mode {} threads {}", about, level, static_cast<int>(mode), params.threads);
      if (result.stats.isa != level) return how + ": ran at " + result.stats.isa;
      for (std::size_t q = 0; q < scene.nq(); ++q) {
        std::string wrong = difference(result, q, expected[q]);
        if (!wrong.empty()) return fmt::format("{}: query {}: {}", how, q, wrong);
        wrong = difference(in_all, q, exact[q]);
        if (!wrong.empty()) return fmt::format("{}: exact query {}: {}", how, q, wrong);
        wrong = difference(in_flat, q, exact[q]);
        if (!wrong.empty()) return fmt::format("{}: flat query {}: {}", how, q, wrong);
        wrong = difference(in_range, q, oracle::within(metric, scene.stored_query(q), rows, candidates[q], radius));
        if (!wrong.empty()) return fmt::format("{}: radius {} query {}: {}", how, radius, q, wrong);
      }
    }
  }
  return "";
}

/// Normal data large enough to fill scan blocks and query tiles.
Scene large_scene(Metric metric, std::size_t n, std::size_t d, std::size_t nlist, std::size_t nq, std::uint64_t seed) {
  shapes::Random random(seed);
  Scene scene;
  scene.metric = metric;
  scene.d = d;
  scene.nlist = nlist;
  scene.rows = shapes::matrix(shapes::Kind::clustered, n, d, random);
  scene.queries = shapes::matrix(shapes::Kind::clustered, nq, d, random);
  for (std::size_t i = 0; i < nlist; ++i) {
    const auto row = scene.rows.begin() + static_cast<std::ptrdiff_t>(random.below(n) * d);
    scene.centroids.insert(scene.centroids.end(), row, row + static_cast<std::ptrdiff_t>(d));
  }
  scene.prepare();
  return scene;
}

}  // namespace

TEST_CASE("search equals the oracle on random and adversarial shapes") {
  struct Case {
    Metric metric;
    shapes::Kind kind;
    std::size_t d;
  };
  std::vector<Case> cases;
  for (const Metric metric : all_metrics) {
    for (const auto kind : shapes::all_kinds()) {
      for (const std::size_t d : shapes::dimensions()) cases.push_back({metric, kind, d});
    }
  }
  // Shuffled, so that whatever the budget allows is a cross-section.
  shapes::Random random(20240601);
  for (std::size_t i = cases.size(); i > 1; --i) std::swap(cases[i - 1], cases[random.below(i)]);
  const std::clock_t start = std::clock();
  const double budget = time_budget();
  std::size_t done = 0;
  while (static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < budget) {
    const Case& one = cases[done % cases.size()];
    const std::string wrong = check_case(one.metric, one.kind, one.d, done);
    if (!wrong.empty()) FAIL(wrong);
    ++done;
  }
  WARN(done << " random cases of " << cases.size() << " combinations");
  CHECK(done > 0);
}

TEST_CASE("search equals the oracle when lists and batches fill whole blocks") {
  for (const Metric metric : all_metrics) {
    const Scene scene = large_scene(metric, 6000, 40, 12, 150, 5);
    const oracle::InvertedFile lists(metric, scene.stored(), scene.stored_centroids());
    std::vector<std::vector<oracle::Hit>> expected;
    SearchParams params;
    params.k = 20;
    params.nprobe = 4;
    for (std::size_t q = 0; q < scene.nq(); ++q) {
      const auto candidates = lists.candidates(scene.stored_query(q), params.nprobe, 0);
      expected.push_back(oracle::topk(metric, scene.stored_query(q), scene.stored(), candidates, params.k));
    }
    for (const auto& level : levels()) {
      const ForcedLevel forced(level);
      const auto index = scene.ivf(3);
      for (const SearchMode mode : all_modes) {
        for (const std::uint64_t memory : {std::uint64_t{0}, std::uint64_t{100000}}) {
          params.mode = mode;
          params.threads = 2;
          params.max_memory = memory;
          const auto result = index.search(scene.query_view(), params);
          for (std::size_t q = 0; q < scene.nq(); ++q) {
            const std::string wrong = difference(result, q, expected[q]);
            if (!wrong.empty()) {
              FAIL(metric_name(metric) << " " << level << " mode " << static_cast<int>(mode) << " query " << q << ": "
                                       << wrong);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("max_codes cuts at every possible row") {
  const Scene scene = large_scene(Metric::l2, 90, 3, 7, 4, 6);
  const oracle::InvertedFile lists(Metric::l2, scene.stored(), scene.stored_centroids());
  const auto index = scene.ivf(2);
  for (std::uint64_t cap = 1; cap <= 92; ++cap) {
    for (const SearchMode mode : all_modes) {
      SearchParams params;
      params.k = 95;
      params.nprobe = 7;
      params.max_codes = cap;
      params.mode = mode;
      const auto result = index.search(scene.query_view(), params);
      for (std::size_t q = 0; q < scene.nq(); ++q) {
        const auto candidates = lists.candidates(scene.stored_query(q), 7, cap);
        REQUIRE(candidates.size() == std::min<std::uint64_t>(cap, 90));
        CHECK(difference(result, q, oracle::topk(Metric::l2, scene.stored_query(q), scene.stored(), candidates, 95)) ==
              "");
      }
    }
  }
}

TEST_CASE("nprobe = nlist returns what an exact search returns") {
  for (const Metric metric : all_metrics) {
    const Scene scene = large_scene(metric, 2000, 17, 25, 30, 7);
    const auto index = scene.ivf();
    SearchParams params;
    params.k = 50;
    params.nprobe = 25;
    CHECK(same_results(index.search(scene.query_view(), params), index.search_exact(scene.query_view(), params)));
    CHECK(
        same_results(index.search_exact(scene.query_view(), params), scene.flat().search(scene.query_view(), params)));
  }
}

TEST_CASE("k up to 16384 and beyond the number of rows") {
  const Scene scene = large_scene(Metric::ip, 3000, 4, 5, 3, 8);
  const auto index = scene.ivf();
  for (const std::size_t k : {std::size_t{2999}, std::size_t{3000}, std::size_t{3001}, std::size_t{16384}}) {
    for (const SearchMode mode : all_modes) {
      SearchParams params;
      params.k = k;
      params.nprobe = 5;
      params.mode = mode;
      const auto result = index.search(scene.query_view(), params);
      for (std::size_t q = 0; q < scene.nq(); ++q) {
        CHECK(difference(
                  result, q,
                  oracle::topk(Metric::ip, scene.stored_query(q), scene.stored(), oracle::everything(3000), k)) == "");
      }
    }
  }
}

TEST_CASE("range search: everything, nothing and infinite radii") {
  const Scene scene = large_scene(Metric::l2, 500, 6, 4, 5, 9);
  const auto index = scene.ivf(2);
  SearchParams params;
  params.nprobe = 4;
  const auto all = index.range_search(scene.query_view(), std::numeric_limits<float>::infinity(), params);
  CHECK(all.lims.back() == 5 * 500);
  for (std::size_t q = 0; q < 5; ++q) {
    CHECK(difference(all, q,
                     oracle::ranked(Metric::l2, scene.stored_query(q), scene.stored(), oracle::everything(500))) == "");
  }
  CHECK(index.range_search(scene.query_view(), 0, params).lims.back() == 0);
  CHECK(index.range_search(scene.query_view(), -1, params).ids.empty());
  CHECK(error_of([&] { index.range_search(scene.query_view(), std::nanf(""), params); }) ==
        "misuse: expected a radius, found NaN");
}

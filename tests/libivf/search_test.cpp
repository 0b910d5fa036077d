// Every level, mode, thread count and batch split against the oracle, on random and adversarial shapes.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <limits>
#include <numeric>

#include "random_cases.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

namespace {

/// One random case at every level; returns what is wrong.
std::string check_case(const CaseKind& kind, std::uint64_t seed) {
  const RandomCase one(kind, seed);
  shapes::Random random(seed, 78);
  for (const auto& level : levels()) {
    const ForcedLevel forced(level);
    const auto ivf = one.scene().ivf(random.between(1, 4));
    const auto flat = one.scene().flat(random.between(1, 3));
    std::string wrong = one.check_lists(ivf);
    for (const SearchMode mode : all_modes) {
      if (wrong.empty()) wrong = one.check(ivf, flat, mode, random.pick(std::vector<unsigned>{1, 2, 7}));
    }
    if (!wrong.empty()) return fmt::format("level {}: {}", level, wrong);
    const auto ran = ivf.search(one.scene().query_view().slice(0, 1), one.params()).stats.isa;
    if (ran != level) return fmt::format("level {}: {}: ran at {}", level, one.about(), ran);
  }
  return "";
}

}  // namespace

TEST_CASE("search equals the oracle on random and adversarial shapes") {
  const auto cases = case_kinds(20240601);
  const std::clock_t start = std::clock();
  const double budget = seconds_for_cases(12);
  std::size_t done = 0;
  while (static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < budget) {
    const std::string wrong = check_case(cases[done % cases.size()], done);
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

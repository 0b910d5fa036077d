// Rows that are removed or not allowed: every level and mode against the oracle over the rows that are left.

#include <ctime>
#include <limits>
#include <memory>
#include <set>

#include "ivf/format/container.hpp"
#include "removal_cases.h"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;
using namespace ivf::support;

TEST_CASE("removal and filters: searches equal the oracle over the rows that are left") {
  const auto cases = case_kinds(20261123);
  const std::clock_t start = std::clock();
  const double budget = seconds_for_cases(5);
  std::size_t done = 0;
  while (static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < budget) {
    RemovalCase one(cases[done % cases.size()], done);
    for (const auto& level : levels()) {
      const ForcedLevel forced(level);
      const std::string wrong = one.check({});
      if (!wrong.empty()) FAIL("case " << done << ", level " << level << ": " << wrong);
    }
    ++done;
  }
  CHECK(done > 0);
}

TEST_CASE("removal: lists that fill whole blocks still get thresholds") {
  for (const Metric metric : {Metric::l2, Metric::ip}) {
    const Scene scene = large_scene(metric, 6000, 40, 12, 150, 5);
    shapes::Random random(4);
    const auto gone = some_ids(scene, 0.5, random);
    const Scene rest = without(scene, gone);
    SearchParams params;
    params.k = 20;
    params.nprobe = 4;
    const Expectation expected(rest, params, false);
    for (const auto& level : levels()) {
      const ForcedLevel forced(level);
      auto index = scene.ivf(3);
      index.remove_ids(id_set(gone));
      for (const SearchMode mode : all_modes) {
        params.mode = mode;
        const auto result = index.search(scene.query_view(), params);
        INFO(metric_name(metric) << " " << level << " mode " << static_cast<int>(mode));
        CHECK(expected.check(result) == "");
        // Not many more rows pass the filter than in an index that never had the others.
        CHECK(result.stats.rows_refined <
              2 * rest.ivf(3).search(scene.query_view(), params).stats.rows_refined + 20 * scene.nq());
      }
    }
  }
}

TEST_CASE("removal: max_codes counts the rows that are left, and cuts at every one of them") {
  const Scene scene = large_scene(Metric::l2, 90, 3, 7, 4, 6);
  shapes::Random random(3);
  const auto gone = some_ids(scene, 0.4, random);
  const Scene rest = without(scene, gone);
  auto index = scene.ivf(2);
  index.remove_ids(id_set(gone));
  for (std::uint64_t cap = 1; cap <= rest.n() + 2; ++cap) {
    for (const SearchMode mode : all_modes) {
      SearchParams params;
      params.k = 95;
      params.nprobe = 7;
      params.max_codes = cap;
      params.mode = mode;
      CHECK(Expectation(rest, params, false).check(index.search(scene.query_view(), params)) == "");
    }
  }
}

TEST_CASE("removal: numbering goes on, and what is added later is found") {
  Scene scene = large_scene(Metric::l2, 400, 5, 3, 20, 8);
  auto index = scene.ivf(2);
  CHECK(index.remove_ids(IdSet(std::vector<IdRange>{{0, 99}, {390, 1000}})) == 110);
  CHECK(index.info().removed == 110);
  CHECK(index.info().next_id == 400);
  CHECK(index.size() == 290);
  index.add(scene.row_view());
  CHECK(index.info().next_id == 800);
  // Small segments were merged: what was removed from them is gone.
  CHECK(index.info().removed == 0);
  CHECK(index.info().rows == 690);
  SearchParams params;
  params.nprobe = 3;
  params.k = 1;
  const auto found = index.search(scene.row_view().slice(0, 10), params);
  for (idx_t i = 0; i < 10; ++i) CHECK(found.ids[static_cast<std::size_t>(i)] == 400 + i);
  std::size_t rows = 0;
  for (std::size_t l = 0; l < 3; ++l) {
    CHECK(index.list_vectors(l).size() == index.list_ids(l).size() * 5);
    CHECK(index.info().list_sizes[l] == index.list_ids(l).size());
    rows += index.list_ids(l).size();
  }
  CHECK(rows == 690);
  CHECK(index.remove_ids(IdSet(std::vector<IdRange>{{std::numeric_limits<idx_t>::min(), -2}, {0, 1 << 20}})) == 690);
  CHECK(index.size() == 0);
  CHECK(index.search(scene.query_view(), params).ids[0] == -1);
  index.reset();
  CHECK(index.info().next_id == 0);
}

TEST_CASE("removal: an index that has lost all rows can be trained anew") {
  const Scene scene = large_scene(Metric::l2, 300, 5, 4, 10, 8);
  const TemporaryDirectory directory;
  auto index = scene.ivf(2);
  index.remove_ids(IdSet(std::vector<IdRange>{{0, 299}}));
  index.train(scene.row_view().slice(100, 150));
  CHECK(index.info().removed == 0);
  CHECK(index.info().next_id == 300);
  index.add(scene.row_view());
  index.save(directory.file("x.ivf"));
  verify_index(directory.file("x.ivf"), true);
  CHECK(load_index(directory.file("x.ivf"))->info().next_id == 600);
}

TEST_CASE("removal: a list that has become empty has no radius") {
  const Scene scene = large_scene(Metric::l2, 100, 5, 4, 10, 8);
  auto index = scene.ivf(1);
  const auto gone = index.list_ids(0);
  REQUIRE(!gone.empty());
  index.remove_ids(IdSet(gone));
  // More rows than there are, none of them in that list: merged with what is left.
  std::vector<float> more;
  for (std::size_t l = 1; l < 4; ++l) {
    const auto rows = index.list_vectors(l);
    for (int i = 0; i < 3; ++i) more.insert(more.end(), rows.begin(), rows.end());
  }
  index.add({more.data(), more.size() / 5, 5});
  CHECK(index.info().removed == 0);
  const TemporaryDirectory directory;
  index.save(directory.file("x.ivf"));
  CHECK(format::Snapshot::open(directory.file("x.ivf"))->segments()[0].radii[0] == 0);
}

TEST_CASE("removal: numbers end at the largest id") {
  const Scene scene = large_scene(Metric::l2, 100, 5, 4, 10, 8);
  const TemporaryDirectory directory;
  const std::string path = directory.file("x.ivf");
  scene.ivf().save(path);
  constexpr auto last = static_cast<std::uint64_t>(std::numeric_limits<idx_t>::max());
  {
    const auto writer = format::Writer::append(path);
    writer->set_next_id(last - 1);
    writer->commit();
  }
  const std::string expected =
      "misuse: expected room for 2 more rows in the numbering, found that the next number is 9223372036854775806; "
      "start "
      "a new index";
  auto index = IndexIVFFlat::load(path);
  CHECK(error_of([&] { index.add(scene.row_view().slice(0, 2)); }) == expected);
  CHECK(error_of([&] { FileAppender(path).append(scene.row_view().slice(0, 2)); }) == expected);
  index.add(scene.row_view().slice(0, 1));
  CHECK(index.info().next_id == last);
}

TEST_CASE("filters: the plan follows what is allowed, whatever the queries are") {
  const Scene scene = large_scene(Metric::l2, 1000, 4, 10, 6, 2);
  const auto index = scene.ivf();
  SearchParams params;
  params.nprobe = 2;  // 200 rows a query, on average.
  const auto plan_for = [&](idx_t last) {
    params.filter.ids = std::make_shared<const IdSet>(std::vector<IdRange>{{0, last}});
    const auto result = index.search(scene.query_view(), params);
    CHECK(result.stats.rows_allowed == static_cast<std::uint64_t>(last) + 1);
    return result.stats.filter_plan;
  };
  CHECK(plan_for(199) == FilterPlan::direct);
  CHECK(plan_for(200) == FilterPlan::scan);
  params.max_codes = 50;
  CHECK(plan_for(49) == FilterPlan::direct);
  CHECK(plan_for(50) == FilterPlan::scan);
  params.filter = {};
  CHECK(index.search(scene.query_view(), params).stats.filter_plan == FilterPlan::automatic);
}

TEST_CASE("filters: a range search finds what is allowed") {
  const Scene scene = large_scene(Metric::ip, 500, 6, 4, 5, 9);
  const auto index = scene.ivf(2);
  SearchParams params;
  params.nprobe = 4;
  params.filter.ids = std::make_shared<const IdSet>(std::vector<IdRange>{{100, 199}});
  for (const bool forbid : {false, true}) {
    params.filter.forbid = forbid;
    const auto found = index.range_search(scene.query_view(), -std::numeric_limits<float>::infinity(), params);
    CHECK(found.ids.size() == 5u * (forbid ? 400 : 100));
    for (const idx_t id : found.ids) CHECK((id >= 100 && id <= 199) != forbid);
  }
}

TEST_CASE("id sets answer like sets, near and far apart") {
  shapes::Random random(77);
  for (int round = 0; round < 200; ++round) {
    std::set<idx_t> plain;
    std::vector<IdRange> ranges;
    const idx_t span = random.below(2) == 0 ? 300 : std::numeric_limits<idx_t>::max() / 2;
    for (std::size_t i = random.below(20); i > 0; --i) {
      const idx_t first = static_cast<idx_t>(random.bits() % static_cast<std::uint64_t>(2 * (span - 10))) - span;
      const idx_t last = first + static_cast<idx_t>(random.below(9));
      ranges.push_back({first, last});
      for (idx_t id = first; id <= last; ++id) plain.insert(id);
    }
    const IdSet set(ranges);
    CHECK(set.size() == plain.size());
    CHECK(set.empty() == plain.empty());
    CHECK(IdSet(std::vector<idx_t>(plain.begin(), plain.end())).size() == plain.size());
    bool same = true;
    for (const IdRange& range : ranges) {
      for (idx_t id = range.first - 3; id <= range.last + 3; ++id) same &= set.contains(id) == (plain.count(id) != 0);
    }
    CHECK(same);
  }
  constexpr idx_t low = std::numeric_limits<idx_t>::min(), high = std::numeric_limits<idx_t>::max();
  const IdSet all(std::vector<IdRange>{{low, -1}, {0, high}});
  const IdSet bits = IdSet::of_bits({0x8000000000000001, 2});
  CHECK((bits.size() == 3 && bits.contains(0) && bits.contains(63) && bits.contains(65)));
  CHECK_FALSE((bits.contains(1) || bits.contains(64) || bits.contains(128) || bits.contains(-1)));
  CHECK((IdSet().empty() && !IdSet().contains(0) && !IdSet::of_bits({}).contains(0)));
  CHECK(all.size() == std::numeric_limits<std::uint64_t>::max());
  CHECK((all.contains(low) && all.contains(high) && all.contains(-1)));
  CHECK(error_of([] {
          IdSet(std::vector<IdRange>{{5, 4}});
        }) == "misuse: expected a range of ids that ends where it begins or later, found 5 to 4; swap them");
}

// Rows that are removed or not allowed: every backend, type and mode against the oracle over the rows that are left.

#include <chrono>
#include <limits>
#include <memory>
#include <set>

#include "backends.h"
#include "removal_cases.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

namespace {

using Clock = std::chrono::steady_clock;

/// A filter that must be looked at in the scan.
Filter scanned(const std::set<idx_t>& ids, bool forbid) {
  return {std::make_shared<const IdSet>(id_set(ids)), forbid, FilterPlan::scan};
}

/// Searches in every mode, in lists and within a radius, and compares with the oracle.
void check_modes(const IndexIVFFlat& index, const Scene& rest, SearchParams params, float radius,
                 Tolerance& tolerance) {
  const Expectation expected(rest, params, false);
  for (const SearchMode mode : all_modes) {
    INFO("mode " << static_cast<int>(mode));
    params.mode = mode;
    CHECK(expected.check(index.search(rest.query_view(), params), &tolerance) == "");
    CHECK(expected.check(index.range_search(rest.query_view(), radius, params), radius, &tolerance) == "");
  }
}

/// The same on every backend and with every type, after some rows were removed; also in an index without lists.
void check_types(const Scene& scene, const std::set<idx_t>& gone, SearchParams params) {
  const Scene rest = without(scene, gone);
  const Expectation in_all(rest, params, true);
  const float widest = std::numeric_limits<float>::infinity();
  for_each_backend([&](const Tested& tested) {
    for (const DeviceType dtype : tested.dtypes()) {
      INFO(tested.name << " " << metric_name(scene.metric) << " dtype " << static_cast<int>(dtype) << " k "
                       << params.k);
      auto ivf = scene.ivf(2, tested.with(dtype));
      auto flat = scene.flat(2, tested.with(dtype));
      ivf.remove_ids(id_set(gone));
      flat.remove_ids(id_set(gone));
      Tolerance tolerance = tolerance_of(tested);
      check_modes(ivf, rest, params, scene.metric == Metric::l2 ? widest : -widest, tolerance);
      CHECK(in_all.check(flat.search(rest.query_view(), params), &tolerance) == "");
    }
  });
}

}  // namespace

TEST_CASE("removal and filters on every backend: searches equal the oracle over the rows that are left") {
  const auto cases = case_kinds(20261124);
  for_each_backend([&](const Tested& tested) {
    const auto start = Clock::now();
    const double budget = seconds_for_cases(3);
    shapes::Random random(81);
    Tolerance tolerance = tolerance_of(tested);
    std::size_t done = 0;
    std::string wrong;
    for (; wrong.empty() && std::chrono::duration<double>(Clock::now() - start).count() < budget; ++done) {
      const DeviceType dtype = all_dtypes[random.below(3)];
      INFO(tested.name << " dtype " << static_cast<int>(dtype));
      wrong = RemovalCase(cases[done % cases.size()], done).check(tested.with(dtype), &tolerance);
      CHECK(wrong == "");
    }
    INFO(tested.name << ": " << tolerance.off << " of " << tolerance.compared << " values are not equal to the bit");
    CHECK(tolerance.off * 10000 <= tolerance.compared);
    WARN(tested.name << ": " << done << " random cases");
  });
}

TEST_CASE("removal and filters on every backend: lists and batches that are large") {
  for (const Metric metric : {Metric::l2, Metric::ip}) {
    const Scene scene = large_scene(metric, fewer_if_emulated(6000), 40, 12, fewer_if_emulated(80), 5);
    shapes::Random random(4);
    const auto gone = some_ids(scene, 0.4, random);
    const Scene rest = without(scene, gone);
    const auto half = some_ids(rest, 0.5, random), few = some_ids(rest, 0.004, random);
    SearchParams params;
    params.k = 20;
    params.nprobe = 4;
    params.threads = 2;
    for_each_backend([&](const Tested& tested) {
      for (const DeviceType dtype : tested.dtypes()) {
        auto index = scene.ivf(3, tested.with(dtype));
        index.remove_ids(id_set(gone));
        Tolerance tolerance = tolerance_of(tested);
        for (const Filter& filter : {Filter{}, scanned(half, true), scanned(few, false)}) {
          INFO(tested.name << " " << metric_name(metric) << " dtype " << static_cast<int>(dtype) << " of "
                           << (filter.ids == nullptr ? 0 : filter.ids->size()) << " ids");
          params.filter = filter;
          check_modes(index, rest, params, metric == Metric::l2 ? 30.0f : 10.0f, tolerance);
        }
      }
    });
  }
}

TEST_CASE("removal on every backend: max_codes counts the rows that are left, and those that a filter hides") {
  const Scene scene = large_scene(Metric::l2, 90, 3, 7, 4, 6);
  shapes::Random random(3);
  const auto gone = some_ids(scene, 0.4, random);
  const Scene rest = without(scene, gone);
  const auto named = some_ids(rest, 0.5, random);
  for_each_backend([&](const Tested& tested) {
    auto index = scene.ivf(2, tested.placement);
    index.remove_ids(id_set(gone));
    Tolerance tolerance = tolerance_of(tested);
    SearchParams params;
    params.k = 95;
    params.nprobe = 7;
    for (const std::uint64_t cap : {1, 2, 3, 7, 13, 20, 33, 48, 54, 90}) {
      params.max_codes = cap;
      for (const Filter& filter : {Filter{}, scanned(named, true)}) {
        INFO(tested.name << " cap " << cap << (filter.ids == nullptr ? "" : " with a filter"));
        params.filter = filter;
        check_modes(index, rest, params, std::numeric_limits<float>::infinity(), tolerance);
      }
    }
  });
}

TEST_CASE("removal on every backend: an index that is searched, reduced, and added to") {
  const Scene scene = large_scene(Metric::ip, 800, 6, 5, 10, 44);
  shapes::Random random(5);
  const auto gone = some_ids(scene, 0.3, random);
  SearchParams params;
  params.k = 7;
  params.nprobe = 2;
  for_each_backend([&](const Tested& tested) {
    INFO(tested.name);
    auto index = scene.empty_ivf(tested.placement);
    auto native = scene.empty_ivf();
    const auto check = [&] {
      const auto found = index.search(scene.query_view(), params);
      CHECK(same_results(found, native.search(scene.query_view(), params)));
      return found;
    };
    for (IndexIVFFlat* each : {&index, &native}) scene.add_to(*each, 0, 500);
    const auto before = check();
    for (IndexIVFFlat* each : {&index, &native}) each->remove_ids(id_set(gone));
    CHECK(check().ids != before.ids);
    for (IndexIVFFlat* each : {&index, &native}) scene.add_to(*each, 500, 300);
    check();
    index.remove_ids(IdSet(std::vector<IdRange>{{0, 800}}));
    CHECK(index.search(scene.query_view(), params).ids == std::vector<idx_t>(70, -1));
  });
}

TEST_CASE("removal: a device does not scan rows that are gone") {
  const Scene scene = large_scene(Metric::l2, 1000, 8, 4, 6, 12);
  for_each_backend([&](const Tested& tested) {
    if (!tested.on_device()) return;
    INFO(tested.name);
    auto flat = scene.flat(2, tested.placement);
    CHECK(flat.search(scene.query_view()).stats.rows_scanned == 6 * 1000);
    flat.remove_ids(IdSet(std::vector<IdRange>{{100, 299}, {990, 5000}}));
    CHECK(flat.search(scene.query_view()).stats.rows_scanned == 6 * 790);
  });
}

TEST_CASE("filters on every backend: products that overflow hide no row and show none") {
  const float most = std::numeric_limits<float>::max(), least = std::numeric_limits<float>::denorm_min();
  for (const Metric metric : all_metrics) {
    Scene scene;
    scene.metric = metric;
    scene.d = 2;
    scene.rows = {most, -most, 0,     0,     -most, most, 1,     1,      1e30f, 1e30f, -1e25f, least,
                  0,    least, least, least, 1,     1,    least, -least, -0.f,  -0.f,  most,   most};
    scene.queries = scene.rows;
    scene.centroids = {0, 0, 1, 1, 1e30f, -1e30f};
    scene.nlist = 3;
    scene.prepare();
    SearchParams params;
    params.nprobe = 3;
    params.filter = scanned({0, 3, 4, 10}, true);
    for (const std::size_t k : {std::size_t{2}, std::size_t{13}}) {
      params.k = k;
      check_types(scene, {2, 7}, params);
    }
  }
}

TEST_CASE("filters on every backend: products that overflow, in one crowded list of many") {
  shapes::Random random(35);
  for (const Metric metric : {Metric::l2, Metric::ip}) {
    // A list of many rows, and many of one, which are scanned as if they were as long: there are more places for groups
    // of rows than rows.
    Scene scene;
    scene.metric = metric;
    scene.d = 5;
    scene.nlist = 20;
    scene.rows = shapes::matrix(shapes::Kind::huge, 44, scene.d, random);
    scene.queries = shapes::matrix(shapes::Kind::huge, 9, scene.d, random);
    scene.centroids.assign(scene.rows.begin(), scene.rows.begin() + static_cast<std::ptrdiff_t>(scene.nlist * scene.d));
    scene.prepare();
    SearchParams params;
    params.nprobe = scene.nlist - 1;
    params.k = 44;
    params.filter = scanned(some_ids(scene, 0.4, random), true);
    check_types(scene, some_ids(scene, 0.1, random), params);
  }
}

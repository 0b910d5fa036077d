// What an index does on every backend beside searching: training, adding, moving, and what its users are told.

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <thread>

#include "backends.h"
#include "random_cases.h"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;
using namespace ivf::support;

namespace {

SearchParams params_of(std::size_t k, std::size_t nprobe, SearchMode mode = SearchMode::automatic) {
  SearchParams params;
  params.k = k;
  params.nprobe = nprobe;
  params.mode = mode;
  params.threads = 2;
  return params;
}

/// Trains and fills an index on a device and writes it; returns the file.
std::string written(const Placement& placement, Metric metric, MatrixView rows, std::size_t nlist, KMeansInit init,
                    std::uint64_t max_memory, const std::string& path) {
  IndexIVFFlat index(rows.dim, nlist, metric);
  index.to(placement);
  TrainParams params;
  params.init = init;
  params.iterations = 6;
  params.threads = 2;
  params.max_memory = max_memory;
  index.train(rows, params);
  RunOptions options;
  options.threads = 2;
  options.max_memory = max_memory;
  index.add(rows.slice(0, rows.rows / 3), options);
  index.add(rows.slice(rows.rows / 3, rows.rows - rows.rows / 3), options);
  index.save(path);
  return read_file(path);
}

}  // namespace

TEST_CASE("every backend trains and fills an index to the same bytes") {
  struct Data {
    shapes::Kind kind;
    std::size_t n, d, nlist;
    Metric metric;
    KMeansInit init;
  };
  const Data all[] = {{shapes::Kind::normal, 900, 24, 16, Metric::l2, KMeansInit::random},
                      {shapes::Kind::clustered, 700, 7, 20, Metric::l2, KMeansInit::plus_plus},
                      {shapes::Kind::integers, 500, 33, 9, Metric::ip, KMeansInit::random},
                      {shapes::Kind::duplicates, 300, 5, 12, Metric::cosine, KMeansInit::plus_plus},
                      {shapes::Kind::offset, 400, 16, 8, Metric::l2, KMeansInit::random},
                      {shapes::Kind::huge, 120, 3, 4, Metric::l2, KMeansInit::random},
                      {shapes::Kind::tiny, 50, 3, 4, Metric::l2, KMeansInit::plus_plus}};
  const TemporaryDirectory directory;
  shapes::Random random(41);
  for (const Data& data : all) {
    const auto rows = shapes::matrix(data.kind, data.n, data.d, random);
    const MatrixView view(rows.data(), data.n, data.d);
    const std::string native = written({}, data.metric, view, data.nlist, data.init, 0, directory.file("native"));
    for_each_backend([&](const Tested& tested) {
      for (const DeviceType dtype : tested.dtypes()) {
        const std::uint64_t memory = dtype == DeviceType::float16 ? 0 : data.n < 100 ? 1 : 200000;
        INFO(tested.name << " " << shapes::name(data.kind) << " dtype " << static_cast<int>(dtype) << " memory "
                         << memory);
        const Placement placement = tested.with(dtype);
        const auto file = written(placement, data.metric, view, data.nlist, data.init, memory, directory.file("other"));
        CHECK((file == native));
      }
    });
  }
}

TEST_CASE("every backend assigns rows and appends them to a file as the native one does") {
  const TemporaryDirectory directory;
  for (const Metric metric : all_metrics) {
    const Scene scene = large_scene(metric, 800, 12, 30, 1, 42);
    const auto lists = oracle::assign(metric, scene.stored(), scene.stored_centroids());
    std::string native;
    for_each_backend([&](const Tested& tested) {
      INFO(tested.name << " " << metric_name(metric));
      auto index = scene.empty_ivf(tested.placement);
      const auto found = index.assign(scene.row_view());
      CHECK(std::equal(found.begin(), found.end(), lists.begin(), lists.end()));
      const std::string path = directory.file("appended");
      index.save(path);
      {
        FileAppender appender(path, {}, tested.placement);
        appender.append(scene.row_view().slice(0, 300));
        appender.append(scene.row_view().slice(300, 500));
        appender.commit();
      }
      const std::string file = read_file(path);
      if (native.empty()) native = file;
      CHECK((file == native));
    });
  }
}

TEST_CASE("an index moves between backends with what it holds") {
  const Scene scene = large_scene(Metric::l2, 600, 10, 8, 20, 43);
  const auto expected = scene.ivf().search(scene.query_view(), params_of(9, 3));
  const TemporaryDirectory directory;
  scene.ivf().save(directory.file("index"));
  const auto tested = tested_backends();
  auto index = scene.ivf();
  for (const Tested& one : tested) {
    INFO(one.name);
    index.to(one.placement);
    CHECK(index.placement().device == one.placement.device);
    CHECK(index.device().backend == (one.torch() ? "torch" : "native"));
    CHECK(same_results(index.search(scene.query_view(), params_of(9, 3)), expected));
    index.to({});
    CHECK(index.device().name == "cpu");
    CHECK(same_results(index.search(scene.query_view(), params_of(9, 3)), expected));

    const auto mapped = load_index(directory.file("index"));
    mapped->to(one.placement);
    CHECK(same_results(mapped->search(scene.query_view(), params_of(9, 3)), expected));
  }
}

TEST_CASE("rows added and removed after a move are searched where the index is") {
  const Scene scene = large_scene(Metric::ip, 400, 6, 5, 10, 44);
  for_each_backend([&](const Tested& tested) {
    INFO(tested.name);
    auto index = scene.empty_ivf(tested.placement);
    auto native = scene.empty_ivf();
    for (std::size_t p = 0; p < 4; ++p) {
      scene.add_to(index, p * 100, 100);
      scene.add_to(native, p * 100, 100);
      CHECK(same_results(index.search(scene.query_view(), params_of(7, 2)),
                         native.search(scene.query_view(), params_of(7, 2))));
    }
    index.reset();
    CHECK(index.search(scene.query_view(), params_of(2, 5)).ids == std::vector<idx_t>(20, -1));
    scene.add_to(index, 0, 400);
    CHECK(same_results(index.search(scene.query_view(), params_of(7, 2)),
                       native.search(scene.query_view(), params_of(7, 2))));
  });
}

TEST_CASE("searches of one index from two threads give what one thread gives") {
  const Scene scene = large_scene(Metric::l2, 1500, 16, 10, 60, 45);
  for_each_backend([&](const Tested& tested) {
    INFO(tested.name);
    const auto index = scene.ivf(2, tested.placement);
    const auto by_list = index.search(scene.query_view(), params_of(11, 4, SearchMode::csr));
    const auto by_query = index.search(scene.query_view().slice(0, 20), params_of(11, 4, SearchMode::matrix));
    bool same[2] = {true, true};
    const auto repeat = [&](std::size_t thread) {
      for (int i = 0; i < 3; ++i) {
        const auto result = thread == 0
                                ? index.search(scene.query_view(), params_of(11, 4, SearchMode::csr))
                                : index.search(scene.query_view().slice(0, 20), params_of(11, 4, SearchMode::matrix));
        same[thread] = same[thread] && same_results(result, thread == 0 ? by_list : by_query);
      }
    };
    std::thread other(repeat, 1);
    repeat(0);
    other.join();
    CHECK(same[0]);
    CHECK(same[1]);
  });
}

TEST_CASE("queries that stay on a device find there what others find") {
  const Scene scene = large_scene(Metric::cosine, 500, 9, 7, 30, 47);
  for_each_backend([&](const Tested& tested) {
    INFO(tested.name);
    const auto index = scene.ivf(2, tested.placement);
    SearchParams params = params_of(6, 3);
    if (tested.torch() || !tested.on_device()) {
      CHECK_THAT(error_of([&] { index.place_queries(scene.query_view(), params); }),
                 Contains("misuse: expected kernels of ivf on a device with memory of its own"));
      return;
    }
    for (const SearchMode mode : all_modes) {
      params.mode = mode;
      const auto placed = index.place_queries(scene.query_view(), params);
      for (int round = 0; round < 2; ++round) {
        placed->search();
        CHECK(same_results(placed->results(), index.search(scene.query_view(), params)));
      }
    }
    params.k = 3000;
    CHECK_THAT(error_of([&] { index.place_queries(scene.query_view(), params)->search(); }),
               Contains("expected a search that the GPU engine does for queries that stay there, found k 3000"));
    params.filter = {std::make_shared<const IdSet>(std::vector<IdRange>{{0, 9}}), true, FilterPlan::scan};
    CHECK_THAT(error_of([&] { index.place_queries(scene.query_view(), params); }),
               Contains("misuse: expected no filter"));
  });
}

TEST_CASE("two threads train, fill and search indexes of their own") {
  shapes::Random random(49);
  const auto rows = shapes::matrix(shapes::Kind::normal, 600, 10, random);
  const MatrixView view(rows.data(), 600, 10);
  const auto run = [&](const Placement& placement, Metric metric) {
    IndexIVFFlat index(10, 9, metric);
    index.to(placement);
    TrainParams params;
    params.iterations = 3;
    params.threads = 1;
    index.train(view, params);
    index.add(view, params);
    return index.search(view.slice(0, 50), params_of(6, 3));
  };
  const auto l2 = run({}, Metric::l2), cosine = run({}, Metric::cosine);
  for_each_backend([&](const Tested& tested) {
    INFO(tested.name);
    Placement second = tested.placement;
    if (tested.test_device) second.device = "dml:1";
    SearchResult first_result, second_result;
    std::thread other([&] { second_result = run(second, Metric::cosine); });
    first_result = run(tested.placement, Metric::l2);
    other.join();
    CHECK(same_results(first_result, l2));
    CHECK(same_results(second_result, cosine));
  });
}

TEST_CASE("every backend refuses bad input in the same words, and the index stays as it was") {
  const Scene scene = large_scene(Metric::l2, 200, 4, 3, 6, 46);
  auto rows = scene.rows;
  rows[17 * 4 + 2] = std::numeric_limits<float>::quiet_NaN();
  const MatrixView bad(rows.data(), 200, 4);
  for_each_backend([&](const Tested& tested) {
    INFO(tested.name);
    auto index = scene.ivf(1, tested.placement);
    const std::string found = "misuse: expected finite values, found nan in row 17, column 2 of the ";
    CHECK(error_of([&] { index.search(bad); }) == found + "queries; remove or replace such values");
    CHECK(error_of([&] { index.add(bad); }) == found + "rows; remove or replace such values");
    CHECK(error_of([&] { index.search(scene.query_view(), params_of(0, 1)); }) ==
          "misuse: expected k of 1 to 16384, found 0");
    CHECK(index.size() == 200);
    CHECK(same_results(index.search(scene.query_view(), params_of(3, 2)),
                       scene.ivf().search(scene.query_view(), params_of(3, 2))));
  });
}

TEST_CASE("a search that its caller abandons has no effect on any backend") {
  const Scene scene = large_scene(Metric::l2, 500, 8, 6, 50, 48);
  for_each_backend([&](const Tested& tested) {
    INFO(tested.name);
    auto index = scene.ivf(1, tested.placement);
    const auto expected = index.search(scene.query_view(), params_of(4, 2));
    SearchParams params = params_of(4, 2);
    params.max_memory = 1;  // Many pieces.
    std::uint64_t calls = 0;
    params.progress = [&](const char*, std::uint64_t done, std::uint64_t total) {
      CHECK(done <= total);
      if (++calls == 2) throw std::runtime_error("stop");
    };
    CHECK_THROWS_AS(index.search(scene.query_view(), params), std::runtime_error);
    CHECK(calls == 2);
    CHECK_THROWS_AS(
        index.add(scene.row_view(),
                  {2, 1, [](const char*, std::uint64_t, std::uint64_t) { throw std::runtime_error("stop"); }}),
        std::runtime_error);
    CHECK(index.size() == 500);
    CHECK(same_results(index.search(scene.query_view(), params_of(4, 2)), expected));
  });
}

TEST_CASE("few queries of random data are looked at twice or decided on the host") {
  shapes::Random random(47);
  Scene scene;
  scene.d = 48;
  scene.nlist = 16;
  scene.rows = shapes::matrix(shapes::Kind::normal, 4000, scene.d, random);
  scene.centroids.assign(scene.rows.begin(), scene.rows.begin() + static_cast<std::ptrdiff_t>(scene.nlist * scene.d));
  scene.queries = shapes::matrix(shapes::Kind::normal, 300, scene.d, random);
  scene.prepare();
  const auto native = scene.ivf().search(scene.query_view(), params_of(10, 4)).stats;
  for_each_backend([&](const Tested& tested) {
    const auto index = scene.ivf(1, tested.placement);
    for (const SearchMode mode : {SearchMode::matrix, SearchMode::csr}) {
      const auto stats = index.search(scene.query_view(), params_of(10, 4, mode)).stats;
      INFO(tested.name << " mode " << static_cast<int>(mode) << " widened " << stats.queries_widened << " on host "
                       << stats.queries_on_host << " refined " << stats.rows_refined << " syncs " << stats.host_syncs);
      CHECK(stats.chosen_mode == mode);
      CHECK(stats.lists_scanned + stats.lists_pruned == 300 * 4);
      CHECK(stats.rows_scanned >= 300 * 10);
      CHECK(stats.rows_refined >= 300 * 10);
      CHECK(stats.avg_group_size == native.avg_group_size);
      CHECK(stats.queries_widened <= 15);
      if (tested.float64) CHECK(stats.queries_on_host <= 15);
      if (!tested.on_device()) CHECK(stats.host_syncs == 0);
    }
  });
}

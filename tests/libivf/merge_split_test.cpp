// Several indexes from one, and one from several: together they find what the whole finds.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "histories.h"
#include "ivf/format/container.hpp"
#include "ivf/maintenance.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;
using namespace ivf::support;

namespace {

/// Results of several indexes as those of one: by (value, id).
SearchResult merged(const std::vector<SearchResult>& parts, Metric metric) {
  SearchResult result = parts.front();
  for (std::size_t q = 0; q < result.nq; ++q) {
    std::vector<std::pair<float, idx_t>> hits;
    for (const SearchResult& part : parts) {
      for (std::size_t i = q * part.k; i < (q + 1) * part.k; ++i) {
        if (part.ids[i] != -1)
          hits.emplace_back(metric == Metric::l2 ? part.distances[i] : -part.distances[i], part.ids[i]);
      }
    }
    std::sort(hits.begin(), hits.end());
    const float none = std::numeric_limits<float>::infinity();
    hits.resize(result.k, {none, -1});
    for (std::size_t i = 0; i < result.k; ++i) {
      result.distances[q * result.k + i] = metric == Metric::l2 ? hits[i].first : -hits[i].first;
      result.ids[q * result.k + i] = hits[i].second;
    }
  }
  return result;
}

std::vector<std::string> shard_names(const TemporaryDirectory& directory, std::size_t count) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < count; ++i) names.push_back(directory.file(fmt::format("shard-{}.ivf", i)));
  return names;
}

std::shared_ptr<const format::Snapshot> snapshot_of(const std::string& path) { return format::Snapshot::open(path); }

}  // namespace

TEST_CASE("split: the shards together find what the whole finds, and merged again they are the whole") {
  TemporaryDirectory directory;
  shapes::Random random(15);
  std::uint64_t seed = 100;
  for (const Metric metric : all_metrics) {
    for (const bool flat : {false, true}) {
      for (const SplitBy by : {SplitBy::list, SplitBy::row}) {
        INFO("metric " << metric_name(metric) << ", flat " << flat << ", by row " << (by == SplitBy::row));
        const Scene scene = large_scene(metric, 500, 1 + random.below(30), flat ? 1 : 7, 8, ++seed);
        const std::string path = directory.file("whole.ivf");
        const History history = History::write(scene, flat, path, random, seed % 2 == 0);
        const auto names = shard_names(directory, 1 + random.below(5));
        SplitOptions options;
        options.by = by;
        const auto reports = split_index(path, names, options);
        const auto whole = load_index(path);
        std::vector<std::unique_ptr<Index>> shards;
        std::uint64_t rows = 0, most = 0, least = whole->size();
        for (std::size_t i = 0; i < names.size(); ++i) {
          verify_index(names[i], true);
          shards.push_back(load_index(names[i]));
          CHECK(reports[i].rows == shards.back()->size());
          CHECK(shards.back()->info().next_id == whole->info().next_id);
          rows += shards.back()->size();
          most = std::max(most, shards.back()->size());
          least = std::min(least, shards.back()->size());
        }
        CHECK(rows == whole->size());
        if (by == SplitBy::row) CHECK(most - least <= 1);
        for (const SearchParams& params : some_params(scene.nlist, false)) {
          std::vector<SearchResult> found;
          for (const auto& shard : shards) found.push_back(shard->search(scene.query_view(), params));
          CHECK(same_results(merged(found, metric), whole->search(scene.query_view(), params)));
        }
        MergeOptions together;
        together.ids = MergeIds::keep;
        const std::string again = directory.file("again.ivf");
        CHECK(merge_indexes(again, names, together).reassigned == 0);
        verify_index(again, true);
        CHECK(snapshot_of(again)->segments().size() == 1);
        CHECK(snapshot_of(again)->next_id() == whole->info().next_id);
        CHECK(agree(*load_index(again), *whole, scene, by == SplitBy::list));
      }
    }
  }
}

TEST_CASE("split: what fails leaves none of the shards") {
  TemporaryDirectory directory;
  shapes::Random random(2);
  const Scene scene = large_scene(Metric::l2, 300, 4, 3, 1, 9);
  const std::string path = directory.file("whole.ivf");
  History::write(scene, false, path, random);
  const auto names = shard_names(directory, 3);
  int calls = 0;
  SplitOptions options;
  options.progress = [&](const char*, std::uint64_t, std::uint64_t) { ++calls; };
  split_index(path, names, options);
  for (int stop = 1; stop <= calls; ++stop) {
    for (const std::string& name : names) std::filesystem::remove(name);
    int left = stop;
    options.progress = [&](const char*, std::uint64_t, std::uint64_t) {
      if (--left == 0) throw std::runtime_error("stop");
    };
    CHECK_THROWS_AS(split_index(path, names, options), std::runtime_error);
    CHECK(names_in(directory) == std::vector<std::string>{"whole.ivf"});
  }
  options.progress = {};
  options.replace = false;
  std::ofstream(names[1]) << "something";
  CHECK(error_of([&] { split_index(path, names, options); }).find("misuse: ") == 0);
  CHECK(names_in(directory) == std::vector<std::string>{"shard-1.ivf", "whole.ivf"});
}

TEST_CASE("merge: indexes with other centroids, or of another kind, go to the lists of the first") {
  TemporaryDirectory directory;
  shapes::Random random(31);
  for (const Metric metric : all_metrics) {
    const Scene scene = large_scene(metric, 400, 9, 6, 8, 12), other = large_scene(metric, 400, 9, 11, 8, 13);
    const std::string names[] = {directory.file("a.ivf"), directory.file("b.ivf"), directory.file("c.ivf")};
    History all = History::write(scene, false, names[0], random);
    for (const History& more :
         {History::write(other, false, names[1], random), History::write(other, true, names[2], random)}) {
      all.rows.insert(all.rows.end(), more.rows.begin(), more.rows.end());
      all.ids.insert(all.ids.end(), more.ids.begin(), more.ids.end());
    }
    const std::string out = directory.file("out.ivf");
    MergeOptions options;
    options.ids = MergeIds::keep;
    for (const std::uint64_t memory : {std::uint64_t{0}, std::uint64_t{20'000}}) {
      options.max_memory = memory;
      const MergeReport report = merge_indexes(out, names, options);
      verify_index(out, true);
      CHECK(report.rows == all.ids.size());
      CHECK(report.reassigned == all.ids.size() - load_index(names[0])->size());
      CHECK(agree(*load_index(out), *all.fresh(scene, false), scene, false));
    }
    // Into a flat one, and into lists that are learnt anew.
    const std::string from_flat[] = {names[2], names[0], names[1]};
    merge_indexes(out, from_flat, options);
    verify_index(out, true);
    CHECK(agree(*load_index(out), *all.fresh(scene, true), scene, false));
    options.retrain.emplace();
    options.retrain->nlist = 5;
    options.retrain->sample = 300;
    const MergeReport report = merge_indexes(out, from_flat, options);
    verify_index(out, true);
    CHECK(report.training->rows == 300);
    CHECK(report.reassigned == all.ids.size());
    const auto trained = load_index(out);
    CHECK(trained->info().nlist == 5);
    SearchParams params;
    params.nprobe = 5;
    CHECK(same_results(trained->search(scene.query_view(), params),
                       all.fresh(scene, true)->search(scene.query_view(), params)));
  }
}

TEST_CASE("merge: ids stay unique, are shifted, or are kept") {
  TemporaryDirectory directory;
  const Scene scene = large_scene(Metric::l2, 30, 3, 2, 1, 5);
  const auto write = [&](const std::string& name, const std::vector<idx_t>& ids, const std::vector<idx_t>& gone = {}) {
    const std::string path = directory.file(name);
    scene.empty_ivf().save(path);
    FileAppender appender(path);
    appender.append(scene.row_view().slice(0, ids.size()), ids);
    appender.commit();
    appender.remove(IdSet{std::span<const idx_t>(gone)});
    appender.commit();
    return path;
  };
  const auto merge = [&](std::vector<std::string> paths, MergeIds ids) {
    MergeOptions options;
    options.ids = ids;
    options.max_memory = 64;  // The ids that are compared go to a file.
    return merge_indexes(directory.file("out.ivf"), paths, options);
  };
  const auto ids_of = [&] {
    std::vector<idx_t> ids;
    const auto index = IndexIVFFlat::load(directory.file("out.ivf"));
    for (std::size_t l = 0; l < 2; ++l) {
      for (const idx_t id : index.list_ids(l)) ids.push_back(id);
    }
    std::sort(ids.begin(), ids.end());
    return ids;
  };
  const std::string a = write("a.ivf", {0, 1, 5}), b = write("b.ivf", {2, 4, 6}), c = write("c.ivf", {3, 6, 5}, {6});
  merge({a, b}, MergeIds::unique);
  CHECK(ids_of() == std::vector<idx_t>{0, 1, 2, 4, 5, 6});
  CHECK(snapshot_of(directory.file("out.ivf"))->next_id() == 6);
  merge({b, c}, MergeIds::unique);  // The row that they shared was removed.
  CHECK(error_of([&] {
          merge({a, b, c}, MergeIds::unique);
        }).find("misuse: expected each id in one index, found 5 in " + a + " and " + c + ";") == 0);
  CHECK(error_of([&] { merge({a, a}, MergeIds::unique); }).find(" (3 such rows);") != std::string::npos);
  merge({a, c}, MergeIds::keep);
  CHECK(ids_of() == std::vector<idx_t>{0, 1, 3, 5, 5});
  CHECK(merge({a, b, c}, MergeIds::shift).id_offsets == std::vector<idx_t>{0, 6, 13});
  CHECK(ids_of() == std::vector<idx_t>{0, 1, 5, 8, 10, 12, 16, 18});
  CHECK(snapshot_of(directory.file("out.ivf"))->next_id() == 19);
  const std::string negative = write("n.ivf", {-7}), last = write("l.ivf", {std::numeric_limits<idx_t>::max()});
  CHECK(error_of([&] { merge({a, negative}, MergeIds::shift); }).find("misuse: " + negative) == 0);
  CHECK(error_of([&] { merge({a, last}, MergeIds::shift); }).find("misuse: " + last) == 0);
  // Over one of those that are read: all of it is there before.
  merge_indexes(a, std::vector<std::string>{b, a});
  CHECK(load_index(a)->size() == 6);
}

TEST_CASE("merge: vectors of two kinds are refused by name") {
  TemporaryDirectory directory;
  const std::string a = directory.file("a.ivf"), b = directory.file("b.ivf"), c = directory.file("c.ivf");
  IndexFlat(3, Metric::l2).save(a);
  IndexFlat(4, Metric::l2).save(b);
  IndexFlat(3, Metric::cosine).save(c);
  const auto refused = [&](const std::string& other) {
    const std::vector<std::string> paths{a, other};
    return error_of([&] { merge_indexes(directory.file("out.ivf"), paths); });
  };
  CHECK(refused(b) ==
        fmt::format("misuse: {}: expected 3 dimensions and the metric l2, as {} has, found 4 and l2; merge "
                    "indexes of one kind of vectors",
                    b, a));
  CHECK(refused(c).find("found 3 and cosine") != std::string::npos);
  CHECK(!std::filesystem::exists(directory.file("out.ivf")));
}

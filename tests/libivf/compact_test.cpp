// Files written anew: compacted, merged and split, against indexes that are built from the rows that are left.

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

std::shared_ptr<const format::Snapshot> open(const std::string& path) { return format::Snapshot::open(path); }

}  // namespace

TEST_CASE("compact: searches find the same before and after, and as if what was removed had never been there") {
  TemporaryDirectory directory;
  shapes::Random random(8);
  std::uint64_t seed = 0;
  for (const Metric metric : all_metrics) {
    for (const bool flat : {false, true}) {
      for (const bool compress : {false, true}) {
        const std::string path = directory.file(fmt::format("{}.ivf", ++seed));
        INFO("metric " << metric_name(metric) << ", flat " << flat << ", compressed " << compress);
        const Scene scene = large_scene(metric, 600, 1 + random.below(40), flat ? 1 : 9, 9, seed);
        const History history = History::write(scene, flat, path, random, compress);
        const auto before = load_index(path);
        const auto fresh = history.fresh(scene, flat);
        REQUIRE(agree(*before, *fresh, scene));

        const RewriteReport report = compact_index(path, path);
        CHECK(report.rows == history.ids.size());
        CHECK(report.dropped == before->info().removed);
        CHECK(report.segments == before->info().segments);
        CHECK(report.bytes_after == std::filesystem::file_size(path));
        verify_index(path, true);
        const auto after = load_index(path);
        CHECK(after->info().segments == 1);
        CHECK(after->info().removed == 0);
        CHECK(after->info().rows == history.ids.size());
        CHECK(after->info().next_id == before->info().next_id);
        CHECK(after->info().metadata == before->info().metadata);
        CHECK(open(path)->compressed() == compress);
        CHECK(agree(*after, *fresh, scene));
        CHECK(agree(*before, *fresh, scene));  // A reader keeps what it has opened.
        // What one addition of the same rows writes, but for the numbering.
        compact_index(path, path + ".sorted", {{{}, false, true}, true});
        fresh->save(path + ".fresh");
        compact_index(path + ".fresh", path + ".fresh", {{{}, {}, true}, true});
        CHECK(read_file(path + ".sorted") == read_file(path + ".fresh"));
      }
    }
  }
}

TEST_CASE("compact: results stay the same at every level and in every mode") {
  TemporaryDirectory directory;
  shapes::Random random(21);
  const Scene scene = large_scene(Metric::l2, 900, 33, 12, 20, 4);
  const std::string path = directory.file("a.ivf");
  History::write(scene, false, path, random);
  const auto before = load_index(path);
  compact_index(path, path, {{}, true});
  const auto after = load_index(path);
  for (const std::string& level : levels()) {
    const ForcedLevel forced(level);
    for (const SearchMode mode : all_modes) {
      SearchParams params;
      params.nprobe = 5;
      params.mode = mode;
      INFO(level << ", mode " << static_cast<int>(mode));
      CHECK(same_results(before->search(scene.query_view(), params), after->search(scene.query_view(), params)));
    }
  }
}

TEST_CASE("compact: sorted, equal contents have equal bytes, whatever came and went before") {
  TemporaryDirectory directory;
  shapes::Random random(3);
  for (const Metric metric : all_metrics) {
    for (const bool flat : {false, true}) {
      INFO("metric " << metric_name(metric) << ", flat " << flat);
      const Scene scene = large_scene(metric, 500, 17, flat ? 1 : 6, 1, 77);
      History fresh;
      fresh.rows = scene.rows;
      for (std::size_t i = 0; i < scene.n(); ++i) fresh.ids.push_back(static_cast<idx_t>(i));
      const std::string expected = directory.file("expected.ivf");
      fresh.fresh(scene, flat)->save(expected);
      for (int past = 0; past < 3; ++past) {
        // All rows in random order and batches, among others that are gone in the end.
        const std::string path = directory.file("past.ivf");
        History history;
        history.save_empty(scene, flat, path);
        std::vector<std::size_t> positions(scene.n());
        for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = i;
        for (std::size_t i = positions.size() - 1; i > 0; --i) std::swap(positions[i], positions[random.below(i + 1)]);
        idx_t other = 100'000;
        std::vector<idx_t> others;
        for (std::size_t first = 0; first < positions.size();) {
          FileAppender appender(path);
          const std::size_t count = std::min(positions.size() - first, 1 + random.below(300));
          const std::span<const std::size_t> some(positions.data() + first, count);
          std::vector<idx_t> as(some.begin(), some.end());
          history.append(appender, scene, some, as);
          for (idx_t& id : as) others.push_back(id = other++);
          history.append(appender, scene, some, as);
          appender.commit();
          first += count;
        }
        {
          FileAppender appender(path);
          appender.remove(IdSet{std::span<const idx_t>(others)});
          appender.commit();
        }
        CompactOptions options;
        options.sort = true;
        options.threads = past == 0 ? 1 : 3;
        if (past == 1) options.max_memory = 1000;  // Less than the keys take: they go to a file.
        compact_index(path, path, options);
        CHECK(read_file(path) == read_file(expected));
      }
    }
  }
}

TEST_CASE("compact: numbering goes on behind the largest id when sorted, as before otherwise") {
  TemporaryDirectory directory;
  const std::string path = directory.file("a.ivf"), out = directory.file("b.ivf");
  constexpr idx_t most = std::numeric_limits<idx_t>::max();
  const Scene scene = large_scene(Metric::l2, 10, 3, 2, 1, 5);
  const auto next_ids = [&](std::vector<idx_t> ids, const std::vector<idx_t>& gone) {
    scene.empty_ivf().save(path);
    {
      FileAppender appender(path);
      appender.append(scene.row_view().slice(0, ids.size()), ids);
      appender.commit();
    }
    {
      FileAppender appender(path);
      appender.remove(IdSet{std::span<const idx_t>(gone)});
      appender.commit();
    }
    compact_index(path, out);
    const std::uint64_t kept = open(out)->next_id();
    compact_index(path, out, {{}, true});
    verify_index(out, true);
    return std::pair(kept, open(out)->next_id());
  };
  using Pair = std::pair<std::uint64_t, std::uint64_t>;
  CHECK(next_ids({5, 6, 7}, {}) == Pair(3, 8));
  CHECK(next_ids({5, 6, 7}, {7}) == Pair(3, 7));
  CHECK(next_ids({0, 1, 2, 3}, {1}) == Pair(4, 4));
  CHECK(next_ids({-9, -5, -3}, {}) == Pair(3, 3));
  CHECK(next_ids({most, 4}, {}) == Pair(2, static_cast<std::uint64_t>(most)));
  CHECK(next_ids({1, 2, 3}, {1, 2, 3}) == Pair(3, 0));
}

TEST_CASE("compact: a plane of zeros that is left is not stored, and bounds become those of the rows that are left") {
  TemporaryDirectory directory;
  const std::string path = directory.file("a.ivf");
  IndexIVFFlat empty(2, 1, Metric::l2);
  const float centroid[] = {0, 0};
  empty.set_centroids({centroid, 1, 2});
  empty.save(path);
  const float rows[] = {1, 2, 1000.1f, 3, 3, 4};
  {
    FileAppender appender(path);
    appender.append({rows, 3, 2});
    appender.commit();
  }
  {
    FileAppender appender(path);
    appender.remove(IdSet(std::vector<IdRange>{{1, 1}}));
    appender.commit();
  }
  CHECK(!open(path)->segments()[0].planes.lo.empty());
  CHECK(open(path)->segments()[0].radii[0] > 1000);
  compact_index(path, path);
  CHECK(open(path)->segments()[0].planes.lo.empty());
  CHECK(open(path)->segments()[0].radii[0] > 5);
  CHECK(open(path)->segments()[0].radii[0] < 5.001f);
  CHECK(open(path)->segments()[0].residuals[0] == 0);
  verify_index(path, true);
}

TEST_CASE("compact: nobody commits meanwhile, and what throws leaves the old file and nothing else") {
  TemporaryDirectory directory;
  shapes::Random random(5);
  const std::string path = directory.file("a.ivf");
  const Scene scene = large_scene(Metric::l2, 400, 8, 4, 3, 6);
  History::write(scene, false, path, random);
  const std::string before = read_file(path);
  {
    const FileAppender appender(path);
    CHECK(error_of([&] { compact_index(path, path); }).find("another writer holds its lock") != std::string::npos);
  }
  int tried = 0;
  CompactOptions options;
  options.sort = true;
  std::vector<std::string> phases;
  options.progress = [&](const char* phase, std::uint64_t, std::uint64_t) {
    ++tried;
    if (phases.empty() || phases.back() != phase) phases.push_back(phase);
    CHECK(error_of([&] { FileAppender{path}; }).find("another writer holds its lock") != std::string::npos);
  };
  compact_index(path, path, options);
  CHECK(tried > 2);
  CHECK(phases == std::vector<std::string>{"sorting", "measuring", "writing"});
  CHECK(read_file(path) != before);
  for (const std::string& stop : phases) {
    const std::string again = read_file(path);
    options.progress = [&](const char* phase, std::uint64_t, std::uint64_t) {
      if (phase == stop) throw std::runtime_error("stop");
    };
    CHECK_THROWS_AS(compact_index(path, path, options), std::runtime_error);
    CHECK(read_file(path) == again);
    CHECK(names_in(directory) == std::vector<std::string>{"a.ivf"});
  }
  FileAppender(path).commit();  // The lock is free.
}

TEST_CASE("compact: damage is found, not written anew") {
  TemporaryDirectory directory;
  shapes::Random random(5);
  const std::string path = directory.file("a.ivf");
  const Scene scene = large_scene(Metric::l2, 400, 8, 4, 3, 6);
  History::write(scene, false, path, random);
  const auto sections = open(path)->sections();
  for (const auto& section : sections) {
    if (section.name != "hi" || section.segment != 0) continue;
    std::string bytes = read_file(path);
    bytes[section.offset + 5] = static_cast<char>(bytes[section.offset + 5] ^ 1);
    std::filesystem::remove(path);
    std::ofstream(path, std::ios::binary) << bytes;
  }
  const std::string damaged = read_file(path);
  CHECK(error_of([&] { compact_index(path, path); }).find("corrupt: ") == 0);
  CHECK(read_file(path) == damaged);
}

TEST_CASE("compact: values that are not finite are refused, though every checksum is right") {
  TemporaryDirectory directory;
  const std::string path = directory.file("a.ivf");
  format::Parameters parameters;
  parameters.kind = format::IndexKind::flat;
  parameters.dim = 2;
  parameters.metadata = "{}";
  const std::uint64_t offsets[] = {0, 1};
  const idx_t ids[] = {4};
  const std::uint16_t hi[] = {0x3f80, 0x7fc0};  // 1 and NaN
  const float norms[] = {1};
  format::SegmentView segment;
  segment.rows = 1;
  segment.offsets = offsets;
  segment.ids = ids;
  segment.planes = {hi, {}, norms};
  const auto writer = format::Writer::create(path, parameters, {}, {}, false);
  writer->write_segment(segment);
  writer->commit();
  const std::string out = directory.file("b.ivf");
  CHECK(error_of([&] { compact_index(path, out); }).find("corrupt: " + path + ": expected finite values") == 0);
  CHECK(names_in(directory) == std::vector<std::string>{"a.ivf"});
}

TEST_CASE("compact: an index without rows stays one") {
  TemporaryDirectory directory;
  const std::string path = directory.file("a.ivf");
  const Scene scene = large_scene(Metric::l2, 20, 3, 4, 1, 6);
  scene.empty_ivf().save(path);
  const std::string before = read_file(path);
  CHECK(compact_index(path, path, {{}, true}).rows == 0);
  CHECK(read_file(path) == before);
}

TEST_CASE("compacting is due by its policy") {
  TemporaryDirectory directory;
  const std::string path = directory.file("a.ivf");
  const Scene scene = large_scene(Metric::l2, 100, 3, 4, 1, 6);
  scene.empty_ivf().save(path);
  CHECK(!compaction_due(path));
  const auto add = [&](std::size_t count) {
    FileAppender appender(path);
    appender.append(scene.row_view().slice(0, count));
    appender.commit();
  };
  add(100);
  CHECK(!compaction_due(path));
  const auto remove = [&](idx_t first, idx_t last) {
    FileAppender appender(path);
    appender.remove(IdSet(std::vector<IdRange>{{first, last}}));
    appender.commit();
  };
  remove(0, 19);
  CHECK(!compaction_due(path));  // Not more than a fifth.
  CHECK(compaction_due(path, {0.19}));
  remove(20, 20);
  CHECK(compaction_due(path));
  compact_index(path, path);
  CHECK(!compaction_due(path));
  for (int i = 0; i < 9; ++i) add(2);  // 18 of 97 rows
  CHECK(!compaction_due(path, {0.2, 9}));
  add(2);  // 20 of 99
  CHECK(compaction_due(path, {0.2, 9}));
  CHECK(!compaction_due(path, {0.2, 11}));
  CHECK(!compaction_due(path, {0.3, 9}));
  CHECK(compaction_due(path, {0.3, 9, 10}));
}

TEST_CASE("compacting is due when older sets of removed rows fill the file") {
  TemporaryDirectory directory;
  const std::string path = directory.file("a.ivf");
  // A set of 200,000 rows takes 25 KB, and a row 20 bytes.
  IndexFlat index(1, Metric::l2);
  index.add(MatrixView(std::vector<float>(200000).data(), 200000, 1));
  index.save(path);
  int removals = 0;
  while (!compaction_due(path)) {
    FileAppender appender(path);
    appender.remove(IdSet(std::vector<IdRange>{{removals, removals}}));
    appender.commit();
    REQUIRE(++removals < 200);
  }
  CHECK(removals > 30);
  compact_index(path, path);
  CHECK(!compaction_due(path));
}

// Index files: saving, loading, appending, verifying; the same bytes whatever writes them.

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "engine_fixture.h"
#include "ivf/format/container.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;
using namespace ivf::support;

namespace {

Scene scene_of(Metric metric, shapes::Kind kind = shapes::Kind::normal, std::size_t n = 500, std::size_t d = 11) {
  shapes::Random random(21);
  Scene scene;
  scene.metric = metric;
  scene.d = d;
  scene.nlist = 9;
  scene.rows = shapes::matrix(kind, n, d, random);
  scene.queries = shapes::matrix(kind, 12, d, random);
  scene.centroids = shapes::matrix(kind, scene.nlist, d, random);
  scene.prepare();
  return scene;
}

SearchParams wide() {
  SearchParams params;
  params.k = 30;
  params.nprobe = 5;
  return params;
}

RunOptions options_of(unsigned threads, std::uint64_t max_memory = 0) {
  RunOptions options;
  options.threads = threads;
  options.max_memory = max_memory;
  return options;
}

/// Trains, adds and saves an index: every byte of the file depends on the engine.
void build_file(const std::string& path, unsigned threads, Metric metric) {
  const Scene scene = scene_of(metric, shapes::Kind::normal, 900, 23);
  IndexIVFFlat index(23, 14, metric);
  TrainParams train;
  train.threads = threads;
  index.train(scene.row_view(), train);
  index.add(scene.row_view(), options_of(threads));
  SaveOptions save;
  save.threads = threads;
  index.save(path, save);
}

}  // namespace

TEST_CASE("a loaded index answers as the one that was saved") {
  const TemporaryDirectory directory;
  for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    for (const auto kind : {shapes::Kind::normal, shapes::Kind::integers, shapes::Kind::mixed, shapes::Kind::huge,
                            shapes::Kind::tiny, shapes::Kind::constant}) {
      for (const bool compress : {false, true}) {
        const Scene scene = scene_of(metric, kind);
        SaveOptions save;
        save.compress = compress;
        const auto ivf = scene.ivf(3);
        ivf.save(directory.file("a.ivf"), save);
        auto loaded = IndexIVFFlat::load(directory.file("a.ivf"));
        CHECK(same_results(loaded.search(scene.query_view(), wide()), ivf.search(scene.query_view(), wide())));
        CHECK(same_bits(loaded.centroids(), scene.centroids));
        CHECK(loaded.info().metadata == ivf.info().metadata);
        CHECK(loaded.info().list_sizes == ivf.info().list_sizes);
        verify_index(directory.file("a.ivf"), true);

        const auto flat = scene.flat(2);
        flat.save(directory.file("b.ivf"), save);
        CHECK(same_results(IndexFlat::load(directory.file("b.ivf")).search(scene.query_view(), wide()),
                           flat.search(scene.query_view(), wide())));
        verify_index(directory.file("b.ivf"), true);

        // Rows added to a loaded index join the mapped ones.
        scene.add_to(loaded, 0, 100);
        auto grown = scene.ivf(1);
        scene.add_to(grown, 0, 100);
        CHECK(loaded.size() == 600);
        CHECK(same_results(loaded.search(scene.query_view(), wide()), grown.search(scene.query_view(), wide())));
        loaded.save(directory.file("a.ivf"), save);
        CHECK(load_index(directory.file("a.ivf"))->size() == 600);
        loaded.reset();
        CHECK(loaded.size() == 0);
        CHECK(same_bits(loaded.centroids(), scene.centroids));
      }
    }
  }
}

TEST_CASE("loading tells flat indexes from inverted files") {
  const TemporaryDirectory directory;
  const Scene scene = scene_of(Metric::l2);
  scene.flat().save(directory.file("flat.ivf"));
  scene.ivf().save(directory.file("ivf.ivf"));
  CHECK(load_index(directory.file("flat.ivf"))->info().flat);
  CHECK_FALSE(load_index(directory.file("ivf.ivf"))->info().flat);
  CHECK_THAT(error_of([&] { IndexFlat::load(directory.file("ivf.ivf")); }),
             Contains("misuse: ") && Contains("expected a flat index, found an inverted file"));
  CHECK_THAT(error_of([&] { IndexIVFFlat::load(directory.file("flat.ivf")); }),
             Contains("expected an inverted file, found a flat index"));
  CHECK_THAT(error_of([&] { load_index(directory.file("none.ivf")); }), Contains("failed: ") && Contains("none.ivf"));
  SaveOptions keep;
  keep.replace = false;
  CHECK_THAT(error_of([&] { scene.flat().save(directory.file("flat.ivf"), keep); }), Contains("misuse: "));
  CHECK_THAT(error_of([&] { IndexIVFFlat(5, 6, Metric::l2).save(directory.file("raw.ivf")); }),
             Contains("misuse: expected a trained index"));
}

TEST_CASE("an empty trained index is saved, loaded and appended to") {
  const TemporaryDirectory directory;
  const Scene scene = scene_of(Metric::cosine);
  scene.empty_ivf().save(directory.file("a.ivf"));
  verify_index(directory.file("a.ivf"), true);
  CHECK(IndexIVFFlat::load(directory.file("a.ivf")).size() == 0);
  {
    FileAppender appender(directory.file("a.ivf"));
    CHECK(appender.dim() == 11);
    CHECK(appender.metric() == Metric::cosine);
    appender.append(scene.row_view());
    appender.commit();
  }
  const auto loaded = IndexIVFFlat::load(directory.file("a.ivf"));
  CHECK(same_results(loaded.search(scene.query_view(), wide()), scene.ivf().search(scene.query_view(), wide())));
}

TEST_CASE("FileAppender: any way to cut the rows gives the same results") {
  const TemporaryDirectory directory;
  for (const Metric metric : {Metric::l2, Metric::cosine}) {
    const Scene scene = scene_of(metric);
    const auto expected = scene.ivf().search(scene.query_view(), wide());
    const auto expected_flat = scene.flat().search(scene.query_view(), wide());
    for (const std::uint64_t memory : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{20000}}) {
      for (const std::size_t piece : {1, 37, 500}) {
        for (const bool flat : {false, true}) {
          const std::string path = directory.file("a.ivf");
          if (flat) {
            IndexFlat(11, metric).save(path);
          } else {
            scene.empty_ivf().save(path);
          }
          {
            FileAppender appender(path, options_of(2, memory));
            for (std::size_t i = 0; i < 500; i += piece) {
              appender.append(scene.row_view().slice(i, std::min<std::size_t>(piece, 500 - i)));
              CHECK(appender.size() == std::min<std::size_t>(i + piece, 500));
            }
            CHECK(load_index(path)->size() == 0);  // Not yet committed.
            appender.commit();
          }
          const auto loaded = load_index(path);
          CHECK(same_results(loaded->search(scene.query_view(), wide()), flat ? expected_flat : expected));
          verify_index(path, true);
          if (memory == 0) CHECK(loaded->info().segments == 1);
          if (memory == 20000) CHECK(loaded->info().segments <= 6);
        }
      }
    }
  }
}

TEST_CASE("FileAppender: the file does not depend on how the caller cuts its batches") {
  const TemporaryDirectory directory;
  const Scene scene = scene_of(Metric::l2);
  std::string first;
  for (const std::size_t piece : {1, 63, 500}) {
    const std::string path = directory.file("a.ivf");
    scene.empty_ivf().save(path);
    FileAppender appender(path, options_of(1, 30000));
    for (std::size_t i = 0; i < 500; i += piece) {
      appender.append(scene.row_view().slice(i, std::min<std::size_t>(piece, 500 - i)));
    }
    appender.commit();
    const std::string bytes = read_file(path);
    if (first.empty()) first = bytes;
    CHECK(bytes == first);
  }
}

TEST_CASE("FileAppender: ids, several commits, and nothing without one") {
  const TemporaryDirectory directory;
  Scene scene = scene_of(Metric::ip);
  const std::string path = directory.file("a.ivf");
  scene.empty_ivf().save(path);
  {
    FileAppender appender(path);
    appender.append(scene.row_view().slice(0, 100));
    appender.commit();
    appender.append(scene.row_view().slice(100, 50));
    appender.append(scene.row_view().slice(150, 50));
    appender.commit();
    appender.append(scene.row_view());  // Never committed.
  }
  auto loaded = IndexIVFFlat::load(path);
  CHECK(loaded.size() == 200);
  CHECK(loaded.info().segments == 2);
  {
    FileAppender appender(path);
    const std::vector<idx_t> ids{1000, -5};
    appender.append(scene.row_view().slice(200, 2), ids);
    CHECK(error_of([&] { appender.append(scene.row_view().slice(0, 1), std::vector<idx_t>{-1}); }) ==
          "misuse: expected ids other than -1, found -1 for row 0; -1 marks missing results");
    CHECK_THAT(error_of([&] { appender.append(scene.row_view().slice(0, 3), ids); }),
               Contains("expected one id for each of 3 rows, found 2 ids"));
    CHECK_THAT(error_of([&] { appender.append(MatrixView(scene.rows.data(), 2, 10)); }),
               Contains("expected rows of dimension 11, found dimension 10"));
    appender.append(scene.row_view().slice(202, 1));  // Id 202: refused rows do not count.
    appender.commit();
  }
  scene.ids.resize(203);
  for (std::size_t i = 0; i < 203; ++i) scene.ids[i] = static_cast<idx_t>(i);
  scene.ids[200] = 1000;
  scene.ids[201] = -5;
  scene.rows.resize(203 * 11);
  scene.prepare();
  CHECK(same_results(IndexIVFFlat::load(path).search(scene.query_view(), wide()),
                     scene.ivf().search(scene.query_view(), wide())));
  // The snapshot opened before the last commit still answers for its generation.
  CHECK(loaded.search_exact(scene.query_view(), wide()).ids == [&] {
    Scene before = scene;
    before.rows.resize(200 * 11);
    before.ids.clear();
    before.prepare();
    return before.flat().search(before.query_view(), wide()).ids;
  }());
}

TEST_CASE("FileAppender: one writer at a time, and a failed append ends it") {
  const TemporaryDirectory directory;
  const Scene scene = scene_of(Metric::l2);
  const std::string path = directory.file("a.ivf");
  scene.empty_ivf().save(path);
  {
    FileAppender first(path);
    CHECK_THAT(error_of([&] { FileAppender second(path); }), Contains("failed: "));
  }
  auto options = options_of(1);
  options.progress = [](const char*, std::uint64_t, std::uint64_t) { throw std::runtime_error("stop"); };
  {
    FileAppender appender(path, options);
    appender.append(scene.row_view());
    CHECK_THROWS_AS(appender.commit(), std::runtime_error);
    CHECK_THAT(error_of([&] { appender.commit(); }),
               Contains("failed: ") && Contains("the file is as it was at the last commit"));
    CHECK_THAT(error_of([&] { appender.append(scene.row_view()); }), Contains("failed: "));
  }
  CHECK(load_index(path)->size() == 0);
  verify_index(path, true);
}

TEST_CASE("batch_rows follows the memory cap and not the number of threads") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("a.ivf");
  scene_of(Metric::l2).empty_ivf().save(path);
  const auto rows = [&](unsigned threads, std::uint64_t memory) {
    return FileAppender(path, options_of(threads, memory)).batch_rows();
  };
  CHECK(rows(1, 1 << 20) == rows(7, 1 << 20));
  CHECK(rows(1, 2 << 20) >= 2 * rows(1, 1 << 20));
  CHECK(rows(1, 1 << 20) * 11 * 4 * 3 <= 1 << 20);
  CHECK(rows(1, 1) == 1);
}

TEST_CASE("verify finds rows in the wrong list, wrong norms, radii, residuals and values") {
  const TemporaryDirectory directory;
  const Scene scene = scene_of(Metric::cosine);
  const std::string good = directory.file("good.ivf"), bad = directory.file("bad.ivf");
  scene.ivf().save(good);
  const auto snapshot = format::Snapshot::open(good);
  const auto& whole = snapshot->segments()[0];
  // Copies of the sections that a case may change.
  std::vector<std::uint64_t> offsets;
  std::vector<idx_t> ids;
  std::vector<std::uint16_t> hi;
  std::vector<float> norms, radii, residuals, centroid_norms;
  const auto rewrite = [&](auto change) {
    offsets.assign(whole.offsets.begin(), whole.offsets.end());
    ids.assign(whole.ids.begin(), whole.ids.end());
    hi.assign(whole.planes.hi.begin(), whole.planes.hi.end());
    hi.resize(hi.size() + 32);
    norms.assign(whole.planes.norms.begin(), whole.planes.norms.end());
    radii.assign(whole.radii.begin(), whole.radii.end());
    residuals.assign(whole.residuals.begin(), whole.residuals.end());
    auto centroids = snapshot->centroids();
    centroid_norms.assign(centroids.norms.begin(), centroids.norms.end());
    centroids.norms = centroid_norms;
    change();
    format::SegmentView segment = whole;
    segment.offsets = offsets;
    segment.ids = ids;
    segment.planes.hi = {hi.data(), whole.planes.hi.size()};
    segment.planes.norms = norms;
    segment.radii = radii;
    segment.residuals = residuals;
    {
      const auto writer = format::Writer::create(bad, snapshot->parameters(), centroids, {}, true);
      writer->write_segment(segment);
      writer->commit();
    }
    verify_index(bad, false);  // The structure is sound: only a full check reads the rows.
    return error_of([&] { verify_index(bad, true, options_of(2)); });
  };
  CHECK(rewrite([] {}) == "");
  std::size_t list = 0;
  while (whole.offsets[list + 1] - whole.offsets[list] < 2) ++list;
  const std::uint64_t last = whole.offsets[list + 1] - 1;
  CHECK(rewrite([&] { --offsets[list + 1]; }) != "");
  CHECK_THAT(rewrite([&] { norms[3] *= 1.001f; }), Contains("corrupt: ") && Contains("segment 0, row 3 (list"));
  CHECK_THAT(rewrite([&] { radii[list] *= 0.5f; }), Contains("radius bound"));
  CHECK_THAT(rewrite([&] { residuals[list] *= 0.5f; }), Contains("residual bound"));
  CHECK_THAT(rewrite([&] { hi[5 * 11 + 4] = 0x7f80; }), Contains("row 5") && Contains("column 4"));
  CHECK_THAT(rewrite([&] { centroid_norms[2] += 1; }), Contains("centroid 2"));
  // A row of another list in this list's place, with radii that do not object.
  const std::string swapped = rewrite([&] {
    const std::uint64_t first_of_next = last + 1;
    for (auto& radius : radii) radius = 100;
    for (auto& residual : residuals) residual = 1;
    offsets[list + 1] = first_of_next + 1;
    for (std::size_t l = list + 2; l + 1 < offsets.size(); ++l) offsets[l] = std::max(offsets[l], offsets[list + 1]);
  });
  CHECK_THAT(swapped, Contains("whose centroid is nearest") && Contains(fmt::format("(list {}, ", list)));
}

TEST_CASE("verify finds rows of a cosine index that are not normalised") {
  const TemporaryDirectory directory;
  const Scene scene = scene_of(Metric::ip);
  scene.flat().save(directory.file("ip.ivf"));
  const auto snapshot = format::Snapshot::open(directory.file("ip.ivf"));
  auto parameters = snapshot->parameters();
  parameters.metric = Metric::cosine;
  {
    const auto writer = format::Writer::create(directory.file("bad.ivf"), parameters, {}, {}, true);
    for (const auto& segment : snapshot->segments()) writer->write_segment(segment);
    writer->commit();
  }
  CHECK_THAT(error_of([&] { verify_index(directory.file("bad.ivf"), true); }), Contains("expected a normalised row"));
}

TEST_CASE("the same file, byte for byte, from every level and number of threads") {
  const TemporaryDirectory directory;
  for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    std::string first;
    for (const auto& level : levels()) {
      for (const unsigned threads : {1u, 2u, 7u}) {
        const std::string path = directory.file("x.ivf");
        // A process of its own: row conversions choose their level once.
        const pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
          setenv("IVF_ISA", level.c_str(), 1);
          const std::string options = fmt::format("{};{};{}", path, threads, static_cast<int>(metric));
          setenv("IVF_TEST_BUILD_FILE", options.c_str(), 1);
          execl("/proc/self/exe", "ivf_tests_libivf", "[build-file]", "-o", "/dev/null", nullptr);
          _exit(127);
        }
        int status = 0;
        REQUIRE(waitpid(child, &status, 0) == child);
        REQUIRE(status == 0);
        const std::string bytes = read_file(path);
        REQUIRE(bytes.size() > 900 * 23 * 4);
        if (first.empty()) first = bytes;
        INFO(metric_name(metric) << " " << level << " threads " << threads);
        CHECK(bytes == first);
        std::filesystem::remove(path);
      }
    }
  }
}

// Not a test by itself: what the case above runs in its children.
TEST_CASE("builds the file that IVF_TEST_BUILD_FILE describes", "[.][build-file]") {
  const char* request = std::getenv("IVF_TEST_BUILD_FILE");
  REQUIRE(request != nullptr);
  const std::string text = request;
  const std::size_t a = text.find(';'), b = text.find(';', a + 1);
  build_file(text.substr(0, a), static_cast<unsigned>(std::stoul(text.substr(a + 1, b - a - 1))),
             static_cast<Metric>(std::stoi(text.substr(b + 1))));
}

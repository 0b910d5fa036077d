// Files of faiss: read as they are, refused wherever they are damaged, and written so that they come back the same.

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>

#include "engine_fixture.h"
#include "faiss_samples.h"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;
using namespace ivf::support;

namespace {

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

template <class T>
void put(std::string& bytes, std::size_t offset, T value) {
  REQUIRE(offset + sizeof value <= bytes.size());
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

std::string sample_bytes(const std::string& name) {
  for (const FaissSample& sample : faiss_samples()) {
    if (sample.name == name) return read_file(sample.path());
  }
  return "";
}

// Where things are in the samples: 3 dimensions, 12 rows, 4 lists. A header is dimension (4), rows (8), two numbers
// (16), trained (1) and metric (4), after the code (4).
namespace at {
constexpr std::size_t dim = 4, rows = 8, trained = 32, metric = 33;
constexpr std::size_t flat_count = 37, flat_values = 45;
constexpr std::size_t map_inner = 37, map_inner_rows = map_inner + rows, map_inner_metric = map_inner + metric,
                      map_count = map_inner + flat_values + 12 * 3 * 4;
constexpr std::size_t nlist = 37, quantizer = 53, centroids = quantizer + flat_values;
constexpr std::size_t direct_map = centroids + 4 * 3 * 4, direct_map_size = direct_map + 1;
constexpr std::size_t lists = direct_map + 9, list_count = lists + 4, code_size = lists + 12, sizes_kind = lists + 20,
                      sizes_count = lists + 24, sizes = lists + 32, first_row = sizes + 4 * 8;
}  // namespace at

/// Imports bytes into a directory that must stay as it was when they are refused. What the error says.
class Importer {
 public:
  std::string refusal(const std::string& bytes, const ImportOptions& options = {}) const {
    write_file(directory_.file("a.faiss"), bytes);
    const std::string error = error_of([&] { import_faiss(directory_.file("a.faiss"), index(), options); });
    CHECK(error.find('\n') == std::string::npos);
    CHECK(std::distance(std::filesystem::directory_iterator(directory_.path()), {}) == 1);
    return error;
  }
  ImportReport accept(const std::string& bytes, const ImportOptions& options = {}) const {
    write_file(directory_.file("a.faiss"), bytes);
    const ImportReport report = import_faiss(directory_.file("a.faiss"), index(), options);
    verify_index(index(), true);
    return report;
  }
  std::string index() const { return directory_.file("a.ivf"); }

 private:
  TemporaryDirectory directory_;
};

struct Damage {
  const char* sample;
  const char* words;
  std::function<void(std::string&)> change;
};

template <class T>
std::function<void(std::string&)> set(std::size_t offset, T value) {
  return [=](std::string& bytes) { put(bytes, offset, value); };
}

std::uint32_t code(const char* name) {
  std::uint32_t value = 0;
  std::memcpy(&value, name, sizeof value);
  return value;
}

/// Each change makes a sample one that is refused with an error of this kind and with these words.
void check_refusals(const std::string& kind, const std::vector<Damage>& cases) {
  const Importer importer;
  for (const Damage& damage : cases) {
    std::string bytes = sample_bytes(damage.sample);
    damage.change(bytes);
    const std::string error = importer.refusal(bytes);
    INFO(damage.words);
    INFO(error);
    CHECK(error.find(kind) == 0);
    CHECK(error.find(damage.words) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("what faiss wrote is imported as it is") {
  const Importer importer;
  for (const FaissSample& sample : faiss_samples()) {
    INFO(sample.name);
    const ImportReport report = importer.accept(read_file(sample.path()));
    CHECK(report.type == sample.type);
    CHECK(report.metric == sample.contents.metric);
    CHECK(report.dim == sample.contents.d);
    CHECK(report.nlist == sample.contents.nlist());
    CHECK(report.rows == sample.contents.n());
    CHECK(report.moved == 0);
    CHECK(report.normalized == 0);
    CHECK_FALSE(report.other_quantizer);
    CHECK(difference(contents_of(importer.index()), sample.contents) == "");
  }
}

TEST_CASE("an exported index has the bytes that faiss writes") {
  const Importer importer;
  const TemporaryDirectory directory;
  for (const FaissSample& sample : faiss_samples()) {
    // Of one index faiss has two forms: ours are those with IndexIDMap2 and without a direct map.
    if (sample.type == "IndexIDMap" || sample.direct_map) continue;
    INFO(sample.name);
    importer.accept(read_file(sample.path()));
    const FaissReport report = export_faiss(importer.index(), directory.file("b.faiss"));
    CHECK(report.type == sample.type);
    CHECK(report.rows == sample.contents.n());
    CHECK(read_file(directory.file("b.faiss")) == read_file(sample.path()));
  }
}

TEST_CASE("an index comes back from a file of faiss the same, in any memory") {
  const Importer importer;
  const TemporaryDirectory directory;
  const Matrix base = read_matrix("gaussian:n=2000,d=16,seed=2", datasets::Role::base, 2000);
  const Matrix queries = read_matrix("gaussian:n=40,d=16,seed=3", datasets::Role::queries, 40);
  SearchParams params;
  params.nprobe = 4;
  for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    INFO(metric_name(metric));
    IndexIVFFlat index(16, 12, metric);
    index.train(base.view());
    index.add(base.view());
    index.save(directory.file("a.ivf"));
    export_faiss(directory.file("a.ivf"), directory.file("a.faiss"));
    ImportOptions options;
    options.metric = metric;
    for (const std::uint64_t memory : {std::uint64_t{0}, std::uint64_t{10000}}) {
      options.max_memory = memory;
      options.compress = memory != 0;
      const ImportReport report = importer.accept(read_file(directory.file("a.faiss")), options);
      CHECK(report.moved == 0);
      CHECK(report.normalized == 0);
      CHECK(difference(contents_of(importer.index()), contents_of(directory.file("a.ivf"))) == "");
      CHECK(same_results(load_index(importer.index())->search(queries.view(), params),
                         index.search(queries.view(), params)));
    }
  }
}

TEST_CASE("indexes without rows pass, too") {
  const Importer importer;
  const TemporaryDirectory directory;
  const std::vector<float> centroids = {0, 0, 4, 4};
  IndexIVFFlat index(2, 2, Metric::ip);
  index.set_centroids({centroids.data(), 2, 2});
  index.save(directory.file("a.ivf"));
  CHECK(export_faiss(directory.file("a.ivf"), directory.file("a.faiss")).rows == 0);
  CHECK(importer.accept(read_file(directory.file("a.faiss"))).rows == 0);
  CHECK(difference(contents_of(importer.index()), contents_of(directory.file("a.ivf"))) == "");
  IndexFlat(2, Metric::l2).save(directory.file("a.ivf"));
  CHECK(export_faiss(directory.file("a.ivf"), directory.file("a.faiss")).type == "IndexFlatL2");
  CHECK(importer.accept(read_file(directory.file("a.faiss"))).rows == 0);
}

TEST_CASE("rows go to the lists of their nearest centroids, and those that move are counted") {
  const Importer importer;
  std::string bytes = sample_bytes("ivf-l2");
  // The first two centroids change places: the rows of both lists are nearer to the other one.
  std::swap_ranges(bytes.begin() + at::centroids, bytes.begin() + at::centroids + 12,
                   bytes.begin() + at::centroids + 12);
  const ImportReport report = importer.accept(bytes);
  CHECK(report.moved == 6);
  const Contents contents = contents_of(importer.index());
  CHECK(contents.ids == std::vector<idx_t>{1, 5, 9, 0, 4, 8, 2, 6, 10, 3, 7, 11});
}

TEST_CASE("the largest values there are pass, too") {
  const Importer importer;
  const TemporaryDirectory directory;
  std::string bytes = sample_bytes("ivf-l2");
  put(bytes, at::first_row, std::numeric_limits<float>::max());
  put(bytes, at::first_row + 4, std::numeric_limits<float>::denorm_min());
  CHECK(importer.accept(bytes).moved == 0);
  export_faiss(importer.index(), directory.file("a.faiss"));
  CHECK(read_file(directory.file("a.faiss")) == bytes);
}

TEST_CASE("lists that were chosen by another metric are chosen anew") {
  const Importer importer;
  std::string bytes = sample_bytes("ivf-l2");
  put(bytes, at::metric, std::int32_t{0});
  const ImportReport report = importer.accept(bytes);
  CHECK(report.other_quantizer);
  CHECK(report.metric == Metric::ip);
  CHECK(report.moved == 0);
}

TEST_CASE("inner products become cosines: rows of unit length stay as they are, others are normalised") {
  const Importer importer;
  ImportOptions cosine;
  cosine.metric = Metric::cosine;
  std::string bytes = sample_bytes("flat-ip");
  const float unit[3] = {0.6f, 0.8f, 0};
  std::memcpy(bytes.data() + at::flat_values, unit, sizeof unit);
  const ImportReport report = importer.accept(bytes, cosine);
  CHECK(report.metric == Metric::cosine);
  CHECK(report.normalized == 11);
  const Contents contents = contents_of(importer.index());
  std::vector<float> expected(12 * 3);
  std::memcpy(expected.data(), bytes.data() + at::flat_values, expected.size() * sizeof(float));
  std::vector<float> rest = oracle::normalized({expected.data() + 3, 11 * 3}, 3);
  std::copy(rest.begin(), rest.end(), expected.begin() + 3);
  CHECK(same_bits(contents.rows, expected));

  CHECK(importer.accept(sample_bytes("ivf-ip-few-lists"), cosine).normalized == 12);
  std::filesystem::remove(importer.index());
  CHECK(importer.refusal(sample_bytes("flat-l2"), cosine).find("misuse: ") == 0);
  ImportOptions l2;
  l2.metric = Metric::l2;
  CHECK(importer.refusal(sample_bytes("flat-ip"), l2).find("expected ip or cosine as the metric") != std::string::npos);
}

TEST_CASE("a file that was cut off anywhere, or goes on, is refused") {
  const Importer importer;
  for (const FaissSample& sample : faiss_samples()) {
    INFO(sample.name);
    const std::string bytes = read_file(sample.path());
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      INFO(size);
      CHECK(importer.refusal(bytes.substr(0, size)).find("corrupt: ") == 0);
    }
    CHECK(importer.refusal(bytes + '\0').find("expected the end of the file, found more (bytes: 1)") !=
          std::string::npos);
  }
}

TEST_CASE("no byte of a file makes it more than an error") {
  const TemporaryDirectory directory;
  for (const char* name : {"ivf-l2", "map-l2"}) {
    const std::string bytes = sample_bytes(name);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ 0x81);  // Sign and last bit of whatever it is.
      write_file(directory.file("a.faiss"), damaged);
      const std::string error = error_of([&] { import_faiss(directory.file("a.faiss"), directory.file("a.ivf")); });
      INFO(name << " byte " << i);
      CHECK(error.find("failed: ") == std::string::npos);
    }
  }
}

TEST_CASE("damage is refused with its place") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Damage> cases = {
      {"flat-l2", "at byte 0: expected the code of a type of index of faiss, found 'IxF\\xff'",
       set(0, code("IxF\xff"))},
      {"flat-l2", "expected a dimension of 1 to 65536, found 0", set(at::dim, std::int32_t{0})},
      {"flat-l2", "expected a dimension of 1 to 65536, found -3", set(at::dim, std::int32_t{-3})},
      {"flat-l2", "expected a dimension of 1 to 65536, found 65537", set(at::dim, std::int32_t{65537})},
      {"flat-l2", "expected 0 to 2^40 rows, found -1", set(at::rows, std::int64_t{-1})},
      {"flat-l2", "expected 0 to 2^40 rows, found 4611686018427387904", set(at::rows, std::int64_t{1} << 62)},
      {"flat-l2", "expected 39 values, dimension times rows, found 36", set(at::rows, std::int64_t{13})},
      {"flat-l2", "expected 0 or 1 as whether it is trained, found 2", set(at::trained, std::uint8_t{2})},
      {"flat-l2", "expected a metric of faiss, found 99", set(at::metric, std::int32_t{99})},
      {"flat-l2", "expected L2 as the metric of IndexFlatL2, found inner product", set(at::metric, std::int32_t{0})},
      {"flat-ip", "expected inner product as the metric of IndexFlatIP, found L2", set(at::metric, std::int32_t{1})},
      {"flat-l2", "expected 36 values, dimension times rows, found 18446744073709551615",
       set(at::flat_count, ~std::uint64_t{0})},
      {"flat-l2", "of 4 bytes for vectors, found 144 bytes to the end",
       [](std::string& bytes) {
         put(bytes, at::rows, std::int64_t{1} << 39);
         put(bytes, at::flat_count, std::uint64_t{3} << 39);
       }},
      {"flat-l2", "row 2: expected finite values, found nan in column 1", set(at::flat_values + 28, nan)},
      {"map-l2", "expected 12 rows of the index within, found 11",
       [](std::string& bytes) {
         put(bytes, at::map_inner_rows, std::int64_t{11});
         put(bytes, at::map_inner + at::flat_count, std::uint64_t{33});
       }},
      {"map2-ip", "expected inner product as the metric of the index within, found L2",
       [](std::string& bytes) {
         put(bytes, at::map_inner, code("IxFl"));
         put(bytes, at::map_inner_metric, std::int32_t{1});
       }},
      {"map-l2", "expected 12 ids, one a row, found 1152921504606846976", set(at::map_count, std::uint64_t{1} << 60)},
      {"map-l2", "row 3: expected an id other than -1", set(at::map_count + 8 + 24, std::int64_t{-1})},
      {"ivf-l2", "expected at least one list, found none", set(at::nlist, std::uint64_t{0})},
      {"ivf-l2", "expected 5 centroids, one a list, found 4", set(at::nlist, std::uint64_t{5})},
      {"ivf-l2", "expected 0, 1 or 2 as the kind of the direct map, found 3", set(at::direct_map, std::uint8_t{3})},
      {"ivf-l2", "18446744073709551615 of 8 bytes for the direct map", set(at::direct_map_size, ~std::uint64_t{0})},
      {"ivf-l2", "expected the code of inverted lists of faiss, found 'ilxx'", set(at::lists, code("ilxx"))},
      {"ivf-l2", "expected 4 inverted lists, found 3", set(at::list_count, std::uint64_t{3})},
      {"ivf-l2", "expected 12 bytes a row, found 16", set(at::code_size, std::uint64_t{16})},
      {"ivf-l2", "expected 'full' or 'sprs', found 'fool'", set(at::sizes_kind, code("fool"))},
      {"ivf-l2", "expected 4 sizes, one a list, found 5", set(at::sizes_count, std::uint64_t{5})},
      {"ivf-l2", "of 20 bytes for vectors and ids of a list, found", set(at::sizes, ~std::uint64_t{0})},
      {"ivf-l2", "expected 12 rows in all lists, found 11",
       [](std::string& bytes) {
         put(bytes, at::sizes + 24, std::uint64_t{2});
         bytes.resize(bytes.size() - 20);
       }},
      {"ivf-l2", "centroid 1: expected finite values, found inf in column 2",
       set(at::centroids + 20, std::numeric_limits<float>::infinity())},
      {"ivf-l2", "list 0, row 1: expected finite values, found nan in column 0", set(at::first_row + 12, nan)},
      {"ivf-l2", "list 0, row 2: expected an id other than -1", set(at::first_row + 36 + 16, std::int64_t{-1})},
      {"ivf-ip-few-lists", "expected at most 4 pairs of a list and its size, found 3 numbers",
       set(at::sizes_count, std::uint64_t{3})},
      {"ivf-ip-few-lists", "expected at most 4 pairs of a list and its size, found 18446744073709551614 numbers",
       set(at::sizes_count, ~std::uint64_t{1})},
      {"ivf-ip-few-lists", "expected a list of 0 to 3 as number 0, found 4", set(at::sizes, std::uint64_t{4})},
      {"ivf-ip-few-lists", "expected a list of 1 to 3 as number 2, found 0", set(at::sizes + 16, std::uint64_t{0})},
  };
  check_refusals("corrupt: ", cases);
}

TEST_CASE("what faiss has and ivf has not is refused by its name") {
  const std::vector<Damage> cases = {
      {"flat-l2",
       "expected the index to be an IndexFlat, an IndexIDMap around one, or an IndexIVFFlat, found IndexPQ; ",
       set(0, code("IxPq"))},
      {"map-l2", "expected the index within to be an IndexFlat, found IndexIVFFlat; ",
       set(at::map_inner, code("IwFl"))},
      {"ivf-l2", "expected the coarse quantizer to be an IndexFlat, found IndexHNSWFlat; ",
       set(at::quantizer, code("IHNf"))},
      {"flat-l2", "expected L2 or inner product as the metric, found Canberra; ", set(at::metric, std::int32_t{20})},
      {"ivf-l2", "expected a trained index, found one that is not trained; ", set(at::trained, std::uint8_t{0})},
      {"ivf-l2", "expected at most 1048576 lists, found 1048577; ", set(at::nlist, std::uint64_t{1048577})},
      {"ivf-l2", "expected ArrayInvertedLists, found OnDiskInvertedLists; ", set(at::lists, code("ilod"))},
  };
  check_refusals("misuse: ", cases);
}

TEST_CASE("an import or export that is stopped leaves nothing behind") {
  const TemporaryDirectory directory;
  const std::string golden = faiss_samples().front().path();
  import_faiss(golden, directory.file("a.ivf"));
  const auto stop = [](const char*, std::uint64_t, std::uint64_t) { throw std::runtime_error("stopped"); };
  ImportOptions options;
  options.progress = stop;
  CHECK_THROWS_AS(import_faiss(golden, directory.file("b.ivf"), options), std::runtime_error);
  RunOptions run;
  run.progress = stop;
  CHECK_THROWS_AS(export_faiss(directory.file("a.ivf"), directory.file("a.faiss"), run), std::runtime_error);
  CHECK(std::distance(std::filesystem::directory_iterator(directory.path()), {}) == 1);
}

TEST_CASE("what stands in the place of a file is said") {
  const TemporaryDirectory directory;
  CHECK(error_of([&] {
          import_faiss(directory.file("none"), directory.file("a.ivf"));
        }).find("cannot be opened: No such file or directory") != std::string::npos);
  CHECK(error_of([&] { import_faiss(directory.path().string(), directory.file("a.ivf")); }).find("misuse: ") == 0);
  write_file(directory.file("a.ivf"), "mine");
  ImportOptions keep;
  keep.replace = false;
  CHECK(error_of([&] {
          import_faiss(faiss_samples().front().path(), directory.file("a.ivf"), keep);
        }).find("misuse: ") == 0);
  CHECK(read_file(directory.file("a.ivf")) == "mine");
}

// The contents of index files, list by list and by id: every bit, in the order of the lists, without removed rows.

#include <algorithm>

#include "engine_fixture.h"
#include "faiss_samples.h"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;
using namespace ivf::support;

namespace {

constexpr std::size_t d = 7;

std::vector<float> some_rows(std::size_t n, std::uint64_t seed) {
  shapes::Random random(seed);
  return shapes::matrix(shapes::Kind::normal, n, d, random);
}

MatrixView view_of(const std::vector<float>& rows) { return {rows.data(), rows.size() / d, d}; }

/// An index file of 500 rows in two segments.
void build(const std::string& path, Metric metric, bool flat, const std::vector<float>& rows,
           const SaveOptions& save = {}) {
  const std::vector<float> centroids = some_rows(6, 3);
  const MatrixView all = view_of(rows);
  if (flat) {
    IndexFlat(d, metric).save(path, save);
  } else {
    IndexIVFFlat index(d, 6, metric);
    index.set_centroids(view_of(centroids));
    index.save(path, save);
  }
  for (std::size_t first = 0; first < all.rows; first += all.rows / 2) {
    FileAppender appender(path);
    appender.append(all.slice(first, all.rows / 2));
    appender.commit();
  }
}

RunOptions little_memory() {
  RunOptions options;
  options.max_memory = 4 * 3 * (d * sizeof(float) + sizeof(idx_t));  // Three rows at a time.
  return options;
}

struct Reconstructed {
  std::vector<idx_t> ids;
  std::vector<float> rows;
  std::uint64_t missing = 0;
};

Reconstructed reconstruct(const StoredIndex& index, const std::vector<idx_t>& ids, MissingIds missing) {
  Reconstructed result;
  result.missing = index.reconstruct(
      ids,
      [&](std::span<const idx_t> found, MatrixView rows) {
        result.ids.insert(result.ids.end(), found.begin(), found.end());
        result.rows.insert(result.rows.end(), rows.data, rows.data + rows.rows * rows.dim);
      },
      missing);
  return result;
}

/// The rows at these positions.
std::vector<float> rows_at(const std::vector<float>& rows, const std::vector<idx_t>& positions) {
  std::vector<float> result;
  for (const idx_t i : positions) {
    const auto first = rows.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(i) * d);
    result.insert(result.end(), first, first + d);
  }
  return result;
}

}  // namespace

TEST_CASE("an index file gives its lists and rows as the index in memory has them") {
  const TemporaryDirectory directory;
  const std::vector<float> rows = some_rows(500, 1);
  SaveOptions compressed;
  compressed.compress = true;
  for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    INFO(metric_name(metric));
    build(directory.file("a.ivf"), metric, false, rows);
    const Contents contents = contents_of(directory.file("a.ivf"));
    const auto index = IndexIVFFlat::load(directory.file("a.ivf"));
    CHECK(same_bits(contents.centroids, index.centroids()));
    REQUIRE(contents.nlist() == 6);
    for (std::size_t l = 0; l < 6; ++l) {
      const auto ids = index.list_ids(l);
      const auto vectors = index.list_vectors(l);
      const std::size_t first = contents.offsets[l], last = contents.offsets[l + 1];
      CHECK(std::equal(ids.begin(), ids.end(), contents.ids.begin() + static_cast<std::ptrdiff_t>(first),
                       contents.ids.begin() + static_cast<std::ptrdiff_t>(last)));
      CHECK(same_bits(vectors, {contents.rows.begin() + static_cast<std::ptrdiff_t>(first * d),
                                contents.rows.begin() + static_cast<std::ptrdiff_t>(last * d)}));
    }
    CHECK(difference(contents_of(directory.file("a.ivf"), little_memory()), contents) == "");
    build(directory.file("c.ivf"), metric, false, rows, compressed);
    CHECK(difference(contents_of(directory.file("c.ivf")), contents) == "");
  }
}

TEST_CASE("lists are visited one by one, too") {
  const TemporaryDirectory directory;
  build(directory.file("a.ivf"), Metric::l2, false, some_rows(500, 1));
  const Contents contents = contents_of(directory.file("a.ivf"));
  const StoredIndex index(directory.file("a.ivf"));
  std::vector<idx_t> ids, own_ids;
  for (std::size_t l = 0; l < index.nlist(); ++l) {
    index.visit_list(
        l, [&](std::span<const idx_t> found, MatrixView) { ids.insert(ids.end(), found.begin(), found.end()); });
    index.visit_list_ids(
        l, [&](std::span<const idx_t> found) { own_ids.insert(own_ids.end(), found.begin(), found.end()); });
  }
  CHECK(ids == contents.ids);
  CHECK(own_ids == contents.ids);
  CHECK(error_of([&] {
          index.visit_list(6, [](std::span<const idx_t>, MatrixView) {});
        }).find("expected a list of 0 to 5, found 6") != std::string::npos);
}

TEST_CASE("rows come back by their ids, bit for bit, in the order of the ids") {
  const TemporaryDirectory directory;
  const std::vector<float> rows = some_rows(500, 1);
  const std::vector<idx_t> ids = {499, 0, 7, 250, 7, 249};
  for (const bool flat : {false, true}) {
    build(directory.file("a.ivf"), Metric::l2, flat, rows);
    for (const RunOptions& options : {RunOptions(), little_memory()}) {
      const StoredIndex index(directory.file("a.ivf"), options);
      const Reconstructed result = reconstruct(index, ids, MissingIds::refuse);
      CHECK(result.ids == ids);
      CHECK(same_bits(result.rows, rows_at(rows, ids)));
      CHECK(result.missing == 0);
    }
  }
  build(directory.file("a.ivf"), Metric::cosine, false, rows);
  const Reconstructed result = reconstruct(StoredIndex(directory.file("a.ivf")), ids, MissingIds::refuse);
  CHECK(same_bits(result.rows, oracle::normalized(rows_at(rows, ids), d)));
}

TEST_CASE("an id that is not there is an error, or left out") {
  const TemporaryDirectory directory;
  const std::vector<float> rows = some_rows(500, 1);
  build(directory.file("a.ivf"), Metric::l2, false, rows);
  const StoredIndex index(directory.file("a.ivf"));
  bool visited = false;
  const auto fail = [&](const std::vector<idx_t>& ids) {
    return error_of([&] { index.reconstruct(ids, [&](std::span<const idx_t>, MatrixView) { visited = true; }); });
  };
  CHECK(fail({3, 500, 4}).find("expected a row with id 500, found none; ") != std::string::npos);
  CHECK(fail({3, 777, -1, 4}).find("expected a row with id 777, found none (2 of the 4 ids are missing)") !=
        std::string::npos);
  CHECK(fail({1 << 30}).find("failed: ") == 0);
  CHECK_FALSE(visited);
  const Reconstructed rest = reconstruct(index, {3, 500, 4, -7, 500}, MissingIds::skip);
  CHECK(rest.ids == std::vector<idx_t>{3, 4});
  CHECK(same_bits(rest.rows, rows_at(rows, {3, 4})));
  CHECK(rest.missing == 3);
  CHECK(reconstruct(index, {}, MissingIds::refuse).ids.empty());
}

TEST_CASE("of rows that share an id, the one that was stored first comes back") {
  const TemporaryDirectory directory;
  const std::vector<float> rows = some_rows(4, 1);
  IndexFlat(d, Metric::l2).save(directory.file("a.ivf"));
  for (std::size_t first = 0; first < 4; first += 2) {
    FileAppender appender(directory.file("a.ivf"));
    const std::vector<idx_t> ids = {9, 9};
    appender.append(view_of(rows).slice(first, 2), ids);
    appender.commit();
  }
  const Reconstructed result = reconstruct(StoredIndex(directory.file("a.ivf")), {9, 9}, MissingIds::refuse);
  CHECK(same_bits(result.rows, rows_at(rows, {0, 0})));
}

TEST_CASE("removed rows are not part of the contents") {
  const TemporaryDirectory directory;
  const std::vector<float> rows = some_rows(500, 1);
  const std::string path = directory.file("a.ivf");
  build(path, Metric::l2, false, rows);
  const Contents before = contents_of(path);
  FileAppender appender(path);
  CHECK(appender.remove(IdSet(std::vector<idx_t>{0, 3, 64, 65, 66, 300, 499})) == 7);
  appender.commit();

  const Contents after = contents_of(path);
  CHECK(after.n() == 493);
  std::vector<idx_t> left;
  const auto removed = [](idx_t id) { return id == 0 || id == 3 || (id >= 64 && id <= 66) || id == 300 || id == 499; };
  std::copy_if(before.ids.begin(), before.ids.end(), std::back_inserter(left), [&](idx_t id) { return !removed(id); });
  CHECK(after.ids == left);
  CHECK(same_bits(after.rows, rows_at(rows, left)));
  CHECK(difference(contents_of(path, little_memory()), after) == "");

  const StoredIndex index(path);
  CHECK(index.rows() == 493);
  CHECK(reconstruct(index, {64, 67, 300}, MissingIds::skip).ids == std::vector<idx_t>{67});
  export_faiss(path, directory.file("a.faiss"));
  import_faiss(directory.file("a.faiss"), directory.file("b.ivf"));
  CHECK(difference(contents_of(directory.file("b.ivf")), after) == "");
}

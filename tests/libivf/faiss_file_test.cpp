// Files that pass between faiss and ivf, in both directions, with the faiss that is installed.

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/index_io.h>
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "engine_fixture.h"
#include "faiss_samples.h"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;
using namespace ivf::support;

namespace {

faiss::MetricType faiss_metric(Metric metric) {
  return metric == Metric::l2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
}

std::unique_ptr<faiss::Index> flat_of(Metric metric, std::size_t d) {
  if (metric == Metric::l2) return std::make_unique<faiss::IndexFlatL2>(static_cast<std::int64_t>(d));
  return std::make_unique<faiss::IndexFlatIP>(static_cast<std::int64_t>(d));
}

/// An index of faiss that owns its coarse quantizer, with these centroids and no rows.
std::unique_ptr<faiss::IndexIVFFlat> ivf_of(Metric metric, std::size_t d, const std::vector<float>& centroids) {
  auto quantizer = flat_of(metric, d);
  quantizer->add(static_cast<std::int64_t>(centroids.size() / d), centroids.data());
  auto index = std::make_unique<faiss::IndexIVFFlat>(quantizer.get(), d, centroids.size() / d, faiss_metric(metric));
  quantizer.release();
  index->own_fields = true;
  index->is_trained = true;
  return index;
}

std::unique_ptr<faiss::Index> make_sample(const FaissSample& sample) {
  const Contents& contents = sample.contents;
  const auto n = static_cast<std::int64_t>(contents.n());
  if (!contents.flat) {
    auto index = ivf_of(contents.metric, contents.d, contents.centroids);
    // In the order of their ids, as they were made.
    std::vector<std::pair<idx_t, std::size_t>> order;
    for (std::size_t i = 0; i < contents.n(); ++i) order.emplace_back(contents.ids[i], i);
    std::sort(order.begin(), order.end());
    for (const auto& [id, i] : order) index->add_with_ids(1, contents.rows.data() + i * contents.d, &id);
    if (sample.direct_map) index->make_direct_map();
    return index;
  }
  auto flat = flat_of(contents.metric, contents.d);
  if (sample.type != "IndexIDMap" && sample.type != "IndexIDMap2") {
    flat->add(n, contents.rows.data());
    return flat;
  }
  std::unique_ptr<faiss::IndexIDMap> map;
  if (sample.type == "IndexIDMap2") {
    map = std::make_unique<faiss::IndexIDMap2>(flat.release());
  } else {
    map = std::make_unique<faiss::IndexIDMap>(flat.release());
  }
  map->own_fields = true;
  map->add_with_ids(n, contents.rows.data(), contents.ids.data());
  return map;
}

std::unique_ptr<faiss::Index> read(const std::string& path) {
  return std::unique_ptr<faiss::Index>(faiss::read_index(path.c_str()));
}

/// What faiss holds, in the terms of ours.
Contents contents_of_faiss(const faiss::Index& index) {
  Contents contents;
  contents.metric = index.metric_type == faiss::METRIC_L2 ? Metric::l2 : Metric::ip;
  contents.d = static_cast<std::size_t>(index.d);
  contents.offsets = {0};
  if (const auto* lists = dynamic_cast<const faiss::IndexIVFFlat*>(&index)) {
    contents.centroids.resize(lists->nlist * contents.d);
    lists->quantizer->reconstruct_n(0, static_cast<std::int64_t>(lists->nlist), contents.centroids.data());
    for (std::size_t l = 0; l < lists->nlist; ++l) {
      const std::size_t size = lists->invlists->list_size(l);
      const auto* rows = reinterpret_cast<const float*>(lists->invlists->get_codes(l));
      const auto* ids = lists->invlists->get_ids(l);
      contents.rows.insert(contents.rows.end(), rows, rows + size * contents.d);
      contents.ids.insert(contents.ids.end(), ids, ids + size);
      contents.offsets.push_back(contents.ids.size());
    }
    return contents;
  }
  const auto* map = dynamic_cast<const faiss::IndexIDMap*>(&index);
  const faiss::Index& flat = map == nullptr ? index : *map->index;
  contents.flat = true;
  contents.rows.resize(static_cast<std::size_t>(flat.ntotal) * contents.d);
  flat.reconstruct_n(0, flat.ntotal, contents.rows.data());
  for (std::int64_t i = 0; i < flat.ntotal; ++i) {
    contents.ids.push_back(map == nullptr ? i : map->id_map[static_cast<std::size_t>(i)]);
  }
  contents.offsets.push_back(contents.ids.size());
  return contents;
}

struct Data {
  std::size_t d = 24, nlist = 20;
  Matrix base = read_matrix("gaussian:n=3000,d=24,seed=5", datasets::Role::base, 3000);
  Matrix queries = read_matrix("gaussian:n=50,d=24,seed=6", datasets::Role::queries, 50);

  std::int64_t n() const { return static_cast<std::int64_t>(base.values.size() / d); }
  std::int64_t nq() const { return static_cast<std::int64_t>(queries.values.size() / d); }
};

/// The ids that faiss finds, k a query.
std::vector<std::int64_t> search(const faiss::Index& index, const Data& data, std::size_t k) {
  std::vector<float> distances(static_cast<std::size_t>(data.nq()) * k);
  std::vector<std::int64_t> ids(distances.size());
  index.search(data.nq(), data.queries.values.data(), static_cast<std::int64_t>(k), distances.data(), ids.data());
  return ids;
}

}  // namespace

TEST_CASE("an index of faiss is searched with the same results once it is imported") {
  const TemporaryDirectory directory;
  const Data data;
  for (const Metric metric : {Metric::l2, Metric::ip}) {
    INFO(metric_name(metric));
    faiss::IndexIVFFlat theirs(flat_of(metric, data.d).release(), data.d, data.nlist, faiss_metric(metric));
    theirs.own_fields = true;
    theirs.train(data.n(), data.base.values.data());
    std::vector<idx_t> ids;
    for (std::int64_t i = 0; i < data.n(); ++i) ids.push_back(5 * i - 7000);
    theirs.add_with_ids(data.n(), data.base.values.data(), ids.data());
    theirs.nprobe = 7;
    faiss::write_index(&theirs, directory.file("a.faiss").c_str());

    const ImportReport report = import_faiss(directory.file("a.faiss"), directory.file("a.ivf"));
    CHECK(report.type == "IndexIVFFlat");
    CHECK(report.rows == 3000);
    CHECK(report.nlist == 20);
    CHECK(report.moved <= 3);
    CHECK_FALSE(report.other_quantizer);
    verify_index(directory.file("a.ivf"), true);
    if (report.moved == 0) CHECK(difference(contents_of(directory.file("a.ivf")), contents_of_faiss(theirs)) == "");

    const auto ours = load_index(directory.file("a.ivf"));
    SearchParams params;
    params.nprobe = 7;
    const auto expected = search(theirs, data, 10);
    const SearchResult found = ours->search(data.queries.view(), params);
    std::size_t same = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) same += expected[i] == found.ids[i];
    // All but what faiss's rounding may swap.
    CHECK(same >= expected.size() - 2);
  }
}

TEST_CASE("faiss reads an index that was exported, and reconstructs its rows bit for bit") {
  const TemporaryDirectory directory;
  const Data data;
  for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    INFO(metric_name(metric));
    IndexIVFFlat ours(data.d, data.nlist, metric);
    ours.train(data.base.view());
    ours.add(data.base.view());
    ours.save(directory.file("a.ivf"));
    const FaissReport report = export_faiss(directory.file("a.ivf"), directory.file("a.faiss"));
    CHECK(report.type == "IndexIVFFlat");
    const auto read_back = read(directory.file("a.faiss"));
    auto& theirs = dynamic_cast<faiss::IndexIVFFlat&>(*read_back);
    Contents expected = contents_of(directory.file("a.ivf"));
    if (metric == Metric::cosine) expected.metric = Metric::ip;
    CHECK(difference(contents_of_faiss(theirs), expected) == "");
    CHECK(theirs.ntotal == 3000);
    CHECK(theirs.is_trained);

    theirs.make_direct_map();
    std::vector<float> row(data.d), rows;
    for (const std::int64_t id : {0, 17, 2999}) {
      theirs.reconstruct(id, row.data());
      rows.insert(rows.end(), row.begin(), row.end());
    }
    const std::vector<idx_t> ids = {0, 17, 2999};
    StoredIndex(directory.file("a.ivf")).reconstruct(ids, [&](std::span<const idx_t>, MatrixView view) {
      CHECK(same_bits(rows, std::vector<float>(view.data, view.data + view.rows * view.dim)));
    });
    // It goes on as an index of faiss: it is searched and added to.
    theirs.nprobe = 20;
    if (metric == Metric::l2) {
      SearchParams params;
      params.nprobe = 20;
      CHECK(search(theirs, data, 3)[0] == ours.search(data.queries.view(), params).ids[0]);
    }
    theirs.add(1, row.data());
    CHECK(theirs.ntotal == 3001);
  }
}

TEST_CASE("flat indexes pass in both directions, with ids of their own and without") {
  const TemporaryDirectory directory;
  const Data data;
  std::vector<idx_t> ids;
  for (std::int64_t i = 0; i < data.n(); ++i) ids.push_back(3 * i + 1);
  for (const bool numbered : {true, false}) {
    IndexFlat ours(data.d, Metric::ip);
    numbered ? ours.add(data.base.view()) : ours.add_with_ids(data.base.view(), ids);
    ours.save(directory.file("a.ivf"));
    const FaissReport report = export_faiss(directory.file("a.ivf"), directory.file("a.faiss"));
    CHECK(report.type == (numbered ? "IndexFlatIP" : "IndexIDMap2"));
    const auto theirs = read(directory.file("a.faiss"));
    CHECK(difference(contents_of_faiss(*theirs), contents_of(directory.file("a.ivf"))) == "");
    const SearchResult found = ours.search(data.queries.view());
    CHECK(search(*theirs, data, 10)[0] == found.ids[0]);
    faiss::write_index(theirs.get(), directory.file("b.faiss").c_str());
    CHECK(read_file(directory.file("b.faiss")) == read_file(directory.file("a.faiss")));
    import_faiss(directory.file("b.faiss"), directory.file("b.ivf"));
    CHECK(difference(contents_of(directory.file("b.ivf")), contents_of(directory.file("a.ivf"))) == "");
  }
}

TEST_CASE("this faiss writes the samples as their golden files are, and reads them") {
  const TemporaryDirectory directory;
  for (const FaissSample& sample : faiss_samples()) {
    INFO(sample.name);
    const auto index = make_sample(sample);
    faiss::write_index(index.get(), directory.file("a").c_str());
    CHECK(read_file(directory.file("a")) == read_file(sample.path()));
    CHECK(difference(contents_of_faiss(*read(sample.path())), sample.contents) == "");
  }
}

TEST_CASE("indexes that ivf has not are refused by their names") {
  const TemporaryDirectory directory;
  const Data data;
  faiss::IndexHNSWFlat graph(static_cast<int>(data.d), 4);
  graph.add(100, data.base.values.data());
  faiss::write_index(&graph, directory.file("a.faiss").c_str());
  const std::string error = error_of([&] { import_faiss(directory.file("a.faiss"), directory.file("a.ivf")); });
  CHECK(error.find("misuse: ") == 0);
  CHECK(error.find("found IndexHNSWFlat") != std::string::npos);
}

TEST_CASE("make the golden files of faiss", "[.][generate]") {
  for (const FaissSample& sample : faiss_samples()) {
    if (std::filesystem::exists(sample.path())) continue;
    faiss::write_index(make_sample(sample).get(), sample.path().c_str());
  }
}

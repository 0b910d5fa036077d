#include "random_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

namespace ivf::support {
namespace {

/// Ids that are neither dense nor sorted, some of them shared by rows.
std::vector<idx_t> scattered_ids(std::size_t n, shapes::Random& random) {
  std::vector<idx_t> ids(n);
  for (auto& id : ids) {
    id = random.below(4) == 0 ? static_cast<idx_t>(random.below(n)) : static_cast<idx_t>(random.bits());
    if (id == -1) id = 0;
  }
  return ids;
}

}  // namespace

Scene random_scene(Metric metric, shapes::Kind kind, std::size_t d, shapes::Random& random) {
  Scene scene;
  scene.metric = metric;
  scene.d = d;
  const std::vector<std::size_t> counts{0, 1, 2, 31, 32, 33, 100, 257, 700, 1500};
  const std::size_t most = std::max<std::size_t>(40, 150000 / d);
  const std::size_t n = std::min(random.pick(counts), most);
  scene.nlist = random.pick(std::vector<std::size_t>{1, 2, 3, 7, 16, 40});
  scene.rows = shapes::matrix(kind, n, d, random);
  scene.centroids = shapes::matrix(random.below(2) == 0 ? kind : shapes::Kind::normal, scene.nlist, d, random);
  const std::size_t nq = random.pick(std::vector<std::size_t>{1, 2, 5, 9, 17});
  scene.queries = shapes::matrix(kind, nq, d, random);
  for (std::size_t q = 0; q < nq && n != 0; q += 2) {  // Rows as queries: distance zero and exact ties.
    const std::size_t row = random.below(n);
    std::copy_n(scene.rows.begin() + static_cast<std::ptrdiff_t>(row * d), d,
                scene.queries.begin() + static_cast<std::ptrdiff_t>(q * d));
  }
  if (random.below(3) == 0) scene.ids = scattered_ids(n, random);
  scene.prepare();
  return scene;
}

Scene large_scene(Metric metric, std::size_t n, std::size_t d, std::size_t nlist, std::size_t nq, std::uint64_t seed) {
  shapes::Random random(seed);
  Scene scene;
  scene.metric = metric;
  scene.d = d;
  scene.nlist = nlist;
  scene.rows = shapes::matrix(shapes::Kind::clustered, n, d, random);
  scene.queries = shapes::matrix(shapes::Kind::clustered, nq, d, random);
  for (std::size_t i = 0; i < nlist; ++i) {
    const auto row = scene.rows.begin() + static_cast<std::ptrdiff_t>(random.below(n) * d);
    scene.centroids.insert(scene.centroids.end(), row, row + static_cast<std::ptrdiff_t>(d));
  }
  scene.prepare();
  return scene;
}

double seconds_for_cases(double otherwise) {
  const char* seconds = std::getenv("IVF_TEST_SECONDS");
  return seconds != nullptr ? std::atof(seconds) : otherwise;
}

float some_radius(Metric metric, const std::vector<std::vector<oracle::Hit>>& expected, shapes::Random& random) {
  const auto& hits = expected[random.below(expected.size())];
  const auto& hit = hits[random.below(hits.size())];
  return hit.id == -1 ? (metric == Metric::l2 ? 1.0f : 0.0f) : hit.value;
}

std::vector<CaseKind> case_kinds(std::uint64_t seed) {
  std::vector<CaseKind> kinds;
  for (const Metric metric : all_metrics) {
    for (const auto kind : shapes::all_kinds()) {
      for (const std::size_t d : shapes::dimensions()) kinds.push_back({metric, kind, d});
    }
  }
  shapes::Random random(seed);
  for (std::size_t i = kinds.size(); i > 1; --i) std::swap(kinds[i - 1], kinds[random.below(i)]);
  return kinds;
}

RandomCase::RandomCase(const CaseKind& kind, std::uint64_t seed) {
  shapes::Random random(seed, 77);
  const Metric metric = kind.metric;
  scene_ = random_scene(metric, kind.kind, kind.d, random);
  const oracle::Rows rows = scene_.stored();
  const oracle::InvertedFile lists(metric, rows, scene_.stored_centroids());
  params_.k = random.pick(std::vector<std::size_t>{1, 2, 10, 33, 100, scene_.n() + 3});
  params_.nprobe = random.pick(std::vector<std::size_t>{1, 2, 5, scene_.nlist, scene_.nlist + 9});
  params_.max_codes = random.below(3) == 0 ? random.between(1, scene_.n() + 1) : 0;
  params_.max_memory = random.below(3) == 0 ? random.between(1, 200000) : 0;
  about_ = fmt::format("{} {} d={} seed={} n={} nlist={} nq={} k={} nprobe={} max_codes={} max_memory={}",
                       metric_name(metric), shapes::name(kind.kind), kind.d, seed, scene_.n(), scene_.nlist,
                       scene_.nq(), params_.k, params_.nprobe, params_.max_codes, params_.max_memory);
  for (const auto& list : lists.lists()) {
    lists_.emplace_back();
    for (const std::size_t i : list) lists_.back().push_back(rows.id(i));
  }
  std::vector<std::vector<std::size_t>> candidates;
  const auto everything = oracle::everything(scene_.n());
  for (std::size_t q = 0; q < scene_.nq(); ++q) {
    const float* query = scene_.stored_query(q);
    candidates.push_back(lists.candidates(query, params_.nprobe, params_.max_codes));
    expected_.push_back(oracle::topk(metric, query, rows, candidates[q], params_.k));
    exact_.push_back(oracle::topk(metric, query, rows, everything, params_.k));
  }
  radius_ = some_radius(metric, expected_, random);
  for (std::size_t q = 0; q < scene_.nq(); ++q) {
    in_range_.push_back(oracle::within(metric, scene_.stored_query(q), rows, candidates[q], radius_));
  }
}

std::string RandomCase::check_lists(const IndexIVFFlat& index) const {
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    if (index.list_ids(l) != lists_[l]) return fmt::format("{}: list {} differs", about_, l);
  }
  return "";
}

std::string RandomCase::check(const IndexIVFFlat& ivf, const IndexFlat& flat, SearchMode mode, unsigned threads,
                              Tolerance* tolerance) const {
  SearchParams params = params_;
  params.mode = mode;
  params.threads = threads;
  const auto result = ivf.search(scene_.query_view(), params);
  const auto in_all = ivf.search_exact(scene_.query_view(), params);
  SearchParams unlimited = params;
  unlimited.max_codes = 0;
  const auto in_flat = flat.search(scene_.query_view(), unlimited);
  const auto in_range = ivf.range_search(scene_.query_view(), radius_, params);
  const std::string how = fmt::format("{}: mode {} threads {}", about_, static_cast<int>(mode), threads);
  for (std::size_t q = 0; q < scene_.nq(); ++q) {
    std::string wrong = difference(result, q, expected_[q], tolerance);
    if (!wrong.empty()) return fmt::format("{}: query {}: {}", how, q, wrong);
    wrong = difference(in_all, q, exact_[q], tolerance);
    if (!wrong.empty()) return fmt::format("{}: exact query {}: {}", how, q, wrong);
    wrong = difference(in_flat, q, exact_[q], tolerance);
    if (!wrong.empty()) return fmt::format("{}: flat query {}: {}", how, q, wrong);
    wrong = difference(in_range, q, in_range_[q], tolerance);
    if (!wrong.empty()) return fmt::format("{}: radius {} query {}: {}", how, radius_, q, wrong);
  }
  return "";
}

}  // namespace ivf::support

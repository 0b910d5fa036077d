#include "engine_fixture.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "backends/backend.h"

namespace ivf::support {

ForcedLevel::ForcedLevel(std::string_view level) {
  const char* before = std::getenv("IVF_ISA");
  was_set_ = before != nullptr;
  if (was_set_) before_ = before;
  setenv("IVF_ISA", std::string(level).c_str(), 1);
}

ForcedLevel::~ForcedLevel() {
  if (was_set_) {
    setenv("IVF_ISA", before_.c_str(), 1);
  } else {
    unsetenv("IVF_ISA");
  }
}

std::vector<std::string> levels() {
  const auto names = detail::cpu_levels();
  return {names.begin(), names.end()};
}

void Scene::prepare() {
  stored_rows = metric == Metric::cosine ? oracle::normalized(rows, d) : rows;
  stored_queries = metric == Metric::cosine ? oracle::normalized(queries, d) : queries;
}

IndexIVFFlat Scene::empty_ivf(const Placement& placement) const {
  IndexIVFFlat index(d, nlist, metric);
  index.set_centroids({centroids.data(), nlist, d});
  index.to(placement);
  return index;
}

IndexIVFFlat Scene::ivf(std::size_t pieces, const Placement& placement) const {
  auto index = empty_ivf(placement);
  add_all(index, pieces);
  return index;
}

IndexFlat Scene::flat(std::size_t pieces, const Placement& placement) const {
  IndexFlat index(d, metric);
  index.to(placement);
  add_all(index, pieces);
  return index;
}

void Scene::add_all(Index& index, std::size_t pieces) const {
  for (std::size_t p = 0; p < pieces; ++p) add_to(index, n() * p / pieces, n() * (p + 1) / pieces - n() * p / pieces);
}

void Scene::add_to(Index& index, std::size_t first, std::size_t count) const {
  const auto part = row_view().slice(first, count);
  if (ids.empty()) {
    index.add(part);
  } else {
    index.add_with_ids(part, std::span(ids).subspan(first, count));
  }
}

namespace {

/// Whether two finite values of one sign are at most so many float32 numbers apart.
bool within_ulps(float a, float b, std::uint32_t ulps) {
  if (!std::isfinite(a) || !std::isfinite(b) || std::signbit(a) != std::signbit(b)) return false;
  const auto x = std::bit_cast<std::int32_t>(a), y = std::bit_cast<std::int32_t>(b);
  return static_cast<std::uint32_t>(std::abs(x - y)) <= ulps;
}

std::string compare(const float* values, const idx_t* ids, std::size_t count, const std::vector<oracle::Hit>& expected,
                    Tolerance* tolerance) {
  if (count != expected.size()) return fmt::format("expected {} hits, found {}", expected.size(), count);
  if (tolerance != nullptr) tolerance->compared += count;
  for (std::size_t i = 0; i < count; ++i) {
    if (ids[i] == expected[i].id) {
      if (std::memcmp(&values[i], &expected[i].value, sizeof(float)) == 0) continue;
      if (tolerance != nullptr && within_ulps(values[i], expected[i].value, tolerance->ulps)) {
        ++tolerance->off;
        continue;
      }
    }
    return fmt::format("hit {}: expected {} ({:a}), found {} ({:a})", i, expected[i].id, expected[i].value, ids[i],
                       values[i]);
  }
  return "";
}

}  // namespace

std::string difference(const SearchResult& result, std::size_t q, const std::vector<oracle::Hit>& expected,
                       Tolerance* tolerance) {
  return compare(result.distances.data() + q * result.k, result.ids.data() + q * result.k, result.k, expected,
                 tolerance);
}

std::string difference(const RangeResult& result, std::size_t q, const std::vector<oracle::Hit>& expected,
                       Tolerance* tolerance) {
  const std::size_t first = result.lims[q];
  return compare(result.distances.data() + first, result.ids.data() + first, result.lims[q + 1] - first, expected,
                 tolerance);
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

bool same_results(const SearchResult& a, const SearchResult& b) {
  return a.nq == b.nq && a.k == b.k && a.ids == b.ids && same_bits(a.distances, b.distances);
}

Matrix read_matrix(const std::string& spec, datasets::Role role, std::uint64_t most) {
  datasets::ReadOptions options;
  options.role = role;
  const auto reader = datasets::open_reader(spec, options);
  Matrix matrix;
  matrix.d = reader->dim();
  matrix.values = datasets::read_all(*reader, most);
  return matrix;
}

std::string metric_name(Metric metric) {
  const char* names[] = {"l2", "ip", "cosine"};
  return names[static_cast<int>(metric)];
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace ivf::support

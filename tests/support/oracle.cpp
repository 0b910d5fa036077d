#include "support/oracle.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

namespace ivf::oracle {
namespace {

double tree_sum(const double (&a)[8]) { return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7])); }

}  // namespace

double squared_distance(const float* a, const float* b, std::size_t d) {
  double sums[8] = {};
  for (std::size_t i = 0; i < d; ++i) {
    const double t = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sums[i % 8] = std::fma(t, t, sums[i % 8]);
  }
  return tree_sum(sums);
}

double inner_product(const float* a, const float* b, std::size_t d) {
  double sums[8] = {};
  for (std::size_t i = 0; i < d; ++i) {
    sums[i % 8] = std::fma(static_cast<double>(a[i]), static_cast<double>(b[i]), sums[i % 8]);
  }
  return tree_sum(sums);
}

float canonical_value(Metric metric, const float* query, const float* row, std::size_t d) {
  // Adding +0 leaves every value but -0 as it is.
  return 0.0f +
         static_cast<float>(metric == Metric::l2 ? squared_distance(query, row, d) : inner_product(query, row, d));
}

bool comes_before(Metric metric, const Hit& a, const Hit& b) {
  if (a.value != b.value) return metric == Metric::l2 ? a.value < b.value : a.value > b.value;
  return a.id < b.id;
}

Hit missing(Metric metric) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  return {metric == Metric::l2 ? infinity : -infinity, -1};
}

std::vector<float> normalized(std::span<const float> rows, std::size_t d) {
  std::vector<float> result(rows.size());
  for (std::size_t begin = 0; begin < rows.size(); begin += d) {
    const double norm = std::sqrt(inner_product(&rows[begin], &rows[begin], d));
    for (std::size_t i = begin; i < begin + d; ++i) {
      result[i] = norm > 0 ? static_cast<float>(static_cast<double>(rows[i]) / norm) : 0.0f;
    }
  }
  return result;
}

PlanePair split(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return {static_cast<std::uint16_t>((std::uint64_t{bits} + 0x8000u) >> 16),
          static_cast<std::uint16_t>(bits & 0xffffu)};
}

float join(PlanePair planes) {
  const std::int64_t low = planes.lo >= 0x8000 ? std::int64_t{planes.lo} - 0x10000 : std::int64_t{planes.lo};
  return std::bit_cast<float>(static_cast<std::uint32_t>((std::int64_t{planes.hi} << 16) + low));
}

std::vector<Hit> ranked(Metric metric, const float* query, const Rows& rows, std::span<const std::size_t> candidates) {
  std::vector<Hit> hits;
  hits.reserve(candidates.size());
  for (const std::size_t i : candidates) {
    hits.push_back({canonical_value(metric, query, rows.row(i), rows.d), rows.id(i)});
  }
  std::sort(hits.begin(), hits.end(), [metric](const Hit& a, const Hit& b) { return comes_before(metric, a, b); });
  return hits;
}

std::vector<Hit> topk(Metric metric, const float* query, const Rows& rows, std::span<const std::size_t> candidates,
                      std::size_t k) {
  auto hits = ranked(metric, query, rows, candidates);
  hits.resize(k, missing(metric));
  return hits;
}

std::vector<Hit> within(Metric metric, const float* query, const Rows& rows, std::span<const std::size_t> candidates,
                        float radius) {
  auto hits = ranked(metric, query, rows, candidates);
  std::erase_if(hits,
                [&](const Hit& hit) { return metric == Metric::l2 ? !(hit.value < radius) : !(hit.value > radius); });
  return hits;
}

std::vector<std::size_t> everything(std::size_t n) {
  std::vector<std::size_t> positions(n);
  std::iota(positions.begin(), positions.end(), std::size_t{0});
  return positions;
}

std::vector<std::int32_t> assign(Metric metric, const Rows& rows, const Rows& centroids) {
  std::vector<std::int32_t> lists(rows.count());
  for (std::size_t i = 0; i < lists.size(); ++i) {
    Hit best = missing(metric);
    for (std::size_t c = 0; c < centroids.count(); ++c) {
      const Hit hit{canonical_value(metric, rows.row(i), centroids.row(c), rows.d), static_cast<idx_t>(c)};
      if (best.id < 0 || comes_before(metric, hit, best)) best = hit;
    }
    lists[i] = static_cast<std::int32_t>(best.id);
  }
  return lists;
}

InvertedFile::InvertedFile(Metric metric, const Rows& rows, const Rows& centroids)
    : metric_(metric), centroids_(centroids), lists_(centroids.count()) {
  const auto assigned = assign(metric, rows, centroids);
  for (std::size_t i = 0; i < assigned.size(); ++i) lists_[static_cast<std::size_t>(assigned[i])].push_back(i);
}

std::vector<std::size_t> InvertedFile::candidates(const float* query, std::size_t nprobe,
                                                  std::uint64_t max_codes) const {
  const auto probes = topk(metric_, query, centroids_, everything(lists_.size()), std::min(nprobe, lists_.size()));
  std::vector<std::size_t> rows;
  for (const Hit& probe : probes) {
    const auto& list = lists_[static_cast<std::size_t>(probe.id)];
    rows.insert(rows.end(), list.begin(), list.end());
  }
  if (max_codes != 0 && rows.size() > max_codes) rows.resize(max_codes);
  return rows;
}

}  // namespace ivf::oracle

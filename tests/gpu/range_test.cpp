// Range search on a GPU against the oracle: every radius, and more hits than there is room for.

#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <sstream>

#include "gpu/gpu_fixture.h"
#include "gpu/row_sets.h"
#include "support/catch.hpp"

namespace {

using namespace ivf;
using namespace ivf::support;
using detail::gpu::RangeOptions;
using shapes::Kind;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// "" when these are the hits, in their order and to the last bit.
std::string difference(const std::vector<std::pair<float, idx_t>>& found, const std::vector<oracle::Hit>& expected) {
  std::ostringstream text;
  text.precision(9);
  if (found.size() != expected.size()) {
    text << "expected " << expected.size() << " hits, found " << found.size();
    return text.str();
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i].second == expected[i].id &&
        std::bit_cast<std::uint32_t>(found[i].first) == std::bit_cast<std::uint32_t>(expected[i].value))
      continue;
    text << "hit " << i << ": expected id " << expected[i].id << " value " << expected[i].value << ", found id "
         << found[i].second << " value " << found[i].first;
    return text.str();
  }
  return "";
}

/// Room for hits: what is chosen, next to none, and so little memory that rows are searched piece by piece.
std::vector<detail::gpu::Tuning> tunings() {
  std::vector<detail::gpu::Tuning> all(4);
  all[1].range_rows = 3;
  all[2].range_rows = 1;
  all[2].workspace = 8192;
  all[2].query_tile = 16;
  all[2].slice_rows = 128;
  all[3].query_tile = 64;
  all[3].range_rows = 20;
  return all;
}

void check(Metric metric, Kind kind, std::size_t n, std::size_t d, std::size_t nq, std::uint64_t max_codes,
           std::uint64_t seed) {
  shapes::Random random(seed);
  const std::size_t nlist = 7, nprobe = 4;
  std::vector<std::int32_t> list_of(n);
  // The last list is empty.
  for (auto& list : list_of) list = static_cast<std::int32_t>(random.below(nlist - 1));
  std::vector<idx_t> ids(n);
  for (auto& id : ids) id = static_cast<idx_t>(random.below(2 * n)) * 3000000000ll;
  const ListedRows rows(metric, shapes::matrix(kind, n, d, random), d, ids, list_of, nlist, 2);
  const std::vector<float> queries = shapes::matrix(kind, nq, d, random);
  std::vector<bool> hidden(n);
  for (std::size_t i = 0; i < n; ++i) hidden[i] = random.below(3) == 0;
  const auto filtered = engine().hide(rows.device(), RowSets(rows, n, 2, hidden).views(), nullptr);
  std::vector<std::int32_t> probes(nq * nprobe);
  for (std::size_t q = 0; q < nq; ++q) {
    std::vector<std::int32_t> lists(nlist);
    std::iota(lists.begin(), lists.end(), 0);
    for (std::size_t r = 0; r < nprobe; ++r) {
      std::swap(lists[r], lists[r + random.below(nlist - r)]);
      probes[q * nprobe + r] = random.below(9) == 0 ? -1 : lists[r];
    }
  }
  // A radius that is the value of some row, for it is not within itself, and its neighbours.
  const auto order = oracle::topk(metric, queries.data(), rows.rows(), rows.everything(0), n);
  const float middle = order[n / 3].value;
  for (const float radius : {middle, std::nextafter(middle, infinity), std::nextafter(middle, -infinity),
                             order[0].value, 0.0f, -middle, infinity, -infinity, std::nanf("")}) {
    for (const bool whole : {false, true}) {
      for (const bool filter : {false, true}) {
        std::vector<std::vector<oracle::Hit>> expected;
        for (std::size_t q = 0; q < nq; ++q) {
          auto candidates =
              whole ? rows.everything(max_codes) : rows.candidates(&probes[q * nprobe], nprobe, max_codes);
          if (filter) std::erase_if(candidates, [&](std::size_t i) { return hidden[i]; });
          expected.push_back(oracle::within(metric, &queries[q * d], rows.rows(), candidates, radius));
        }
        for (const auto& tuning : tunings()) {
          INFO(shapes::name(kind) << " metric " << static_cast<int>(metric) << " n " << n << " d " << d << " radius "
                                  << radius << " max_codes " << max_codes << " whole " << whole << " filter " << filter
                                  << " room " << tuning.range_rows);
          RangeOptions options;
          options.radius = radius;
          options.max_codes = max_codes;
          options.tuning = tuning;
          detail::gpu::Report report;
          options.report = &report;
          const auto found =
              engine().range(filter ? *filtered : rows.device(), {queries.data(), nq, 0, false},
                             whole ? detail::gpu::ProbeLists{} : detail::gpu::ProbeLists{probes.data(), nprobe, false},
                             options, nullptr);
          for (std::size_t q = 0; q < nq; ++q) REQUIRE(difference(found.hits[q], expected[q]) == "");
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("range searches on a GPU find what the oracle finds", "[gpu]") {
  if (!have_device()) return;
  std::uint64_t seed = 500;
  for (const Metric metric : {Metric::l2, Metric::ip}) {
    for (const Kind kind : shapes::all_kinds()) check(metric, kind, 150, 9, 5, 0, ++seed);
    check(metric, Kind::normal, 400, 40, 11, 123, ++seed);
    check(metric, Kind::normal, 3, 1, 2, 0, ++seed);
  }
}

TEST_CASE("range searches on a GPU behind a coarse step look at the nearest lists", "[gpu]") {
  if (!have_device()) return;
  shapes::Random random(550);
  const std::size_t n = 600, d = 12, nlist = 20, nq = 9;
  const std::vector<float> values = shapes::matrix(Kind::clustered, n, d, random);
  const std::vector<float> centres = shapes::matrix(Kind::clustered, nlist, d, random);
  const std::vector<float> queries = shapes::matrix(Kind::clustered, nq, d, random);
  const auto lists = oracle::assign(Metric::l2, {values, {}, d}, {centres, {}, d});
  const ListedRows rows(Metric::l2, values, d, {}, lists, nlist, 1);
  const ListedRows centroids(Metric::l2, centres, d, {}, std::vector<std::int32_t>(nlist, 0), 1, 1);
  const oracle::InvertedFile file(Metric::l2, {values, {}, d}, {centres, {}, d});
  const float radius = oracle::topk(Metric::l2, queries.data(), {values, {}, d}, oracle::everything(n), 50)[49].value;
  for (const std::size_t nprobe : {3u, 20u, 40u}) {
    for (const std::uint64_t max_codes : {0u, 90u}) {
      RangeOptions options;
      options.radius = radius;
      options.max_codes = max_codes;
      const auto found =
          engine().range(centroids.device(), rows.device(), {queries.data(), nq, 0, false}, nprobe, options, nullptr);
      for (std::size_t q = 0; q < nq; ++q) {
        INFO("nprobe " << nprobe << " max_codes " << max_codes << " query " << q);
        const auto candidates = file.candidates(&queries[q * d], std::min(nprobe, nlist), max_codes);
        REQUIRE(difference(found.hits[q],
                           oracle::within(Metric::l2, &queries[q * d], {values, {}, d}, candidates, radius)) == "");
      }
    }
  }
}

TEST_CASE("range searches on a GPU say how many queries had more hits than there was room for", "[gpu]") {
  if (!have_device()) return;
  const ListedRows rows(Metric::l2, {0, 1, 2, 3, 4, 5}, 1, {}, std::vector<std::int32_t>(6, 0), 1, 1);
  const std::vector<float> queries = {0, 100};
  RangeOptions options;
  options.radius = 10;
  options.tuning.range_rows = 2;
  detail::gpu::Report report;
  options.report = &report;
  const auto found = engine().range(rows.device(), {queries.data(), 2, 0, false}, {}, options, nullptr);
  REQUIRE(found.hits[0] == std::vector<std::pair<float, idx_t>>{{0.0f, 0}, {1.0f, 1}, {4.0f, 2}, {9.0f, 3}});
  REQUIRE(found.hits[1].empty());
  REQUIRE(report.queries_overflowed == 1);
  REQUIRE(report.rows_scanned == 12);
}

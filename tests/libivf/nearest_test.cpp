// Assignment to the nearest centroid, with and without hints of an assignment before, and the sums of lists.

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "backends/backend.h"
#include "engine_fixture.h"
#include "index/centroids.h"
#include "support/address_space_limit.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

namespace {

struct Assignment {
  std::vector<std::int32_t> lists;
  std::vector<float> values;
};

Assignment expected_assignment(Metric metric, const std::vector<float>& rows, const std::vector<float>& centroids,
                               std::size_t d) {
  Assignment result;
  for (const auto list : oracle::assign(metric, {rows, {}, d}, {centroids, {}, d})) {
    const auto row = result.lists.size() * d, centroid = static_cast<std::size_t>(list) * d;
    result.lists.push_back(static_cast<std::int32_t>(list));
    result.values.push_back(oracle::canonical_value(metric, &rows[row], &centroids[centroid], d));
  }
  return result;
}

/// "" or the first row that differs.
std::string difference(const Assignment& found, const Assignment& expected) {
  for (std::size_t i = 0; i < expected.lists.size(); ++i) {
    if (found.lists[i] != expected.lists[i] || std::memcmp(&found.values[i], &expected.values[i], sizeof(float)) != 0) {
      return fmt::format("row {}: list {} at {} instead of {} at {}", i, found.lists[i], found.values[i],
                         expected.lists[i], expected.values[i]);
    }
  }
  return "";
}

Assignment assign(detail::HeldRows& held, Metric metric, std::size_t n, const std::vector<float>& centroids,
                  std::size_t d) {
  const detail::CentroidSet set({centroids.data(), centroids.size() / d, d}, metric != Metric::l2);
  Assignment found{std::vector<std::int32_t>(n), std::vector<float>(n)};
  held.assign(set.corpus(), found.lists.data(), found.values.data());
  return found;
}

}  // namespace

TEST_CASE("nearest: assignments equal the oracle while centroids move, whatever the hints say") {
  struct Size {
    std::size_t n, d, nlist;
  };
  for (const auto& [n, d, nlist] : {Size{1, 5, 1}, Size{70, 1, 3}, Size{130, 31, 33}, Size{70, 64, 64},
                                    Size{40, 100, 140}, Size{600, 3, 40}, Size{33, 2, 1100}, Size{34, 520, 35}}) {
    for (const auto kind : shapes::all_kinds()) {
      // What a sanitizer would find does not depend on the values: a third of the kinds, others for other sizes.
      if (kSanitized && (static_cast<std::size_t>(kind) + n) % 3 != 0) continue;
      shapes::Random random(n + d);
      const auto rows = shapes::matrix(kind, n, d, random);
      for (const Metric metric : {Metric::l2, Metric::ip}) {
        // Others, so that every hint is wrong; the same again; some that are rows, with ties; and fewer.
        const auto first = shapes::matrix(kind, nlist, d, random);
        auto second = first;
        std::rotate(second.begin(), second.begin() + static_cast<std::ptrdiff_t>(nlist / 2 * d), second.end());
        auto third = second;
        for (std::size_t c = 0; c < nlist; c += 2)
          std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(c / 4 % n * d), d,
                      third.begin() + static_cast<std::ptrdiff_t>(c * d));
        const std::vector<float> fewer(third.begin(), third.begin() + static_cast<std::ptrdiff_t>((nlist + 1) / 2 * d));
        const std::vector<std::vector<float>> moves{first, second, third, fewer};
        std::vector<Assignment> expected;
        for (const auto& centroids : moves) expected.push_back(expected_assignment(metric, rows, centroids, d));
        for (const auto& level : levels()) {
          const auto held = detail::cpu_backend_at(level).hold({rows.data(), n, d}, 2, 0);
          for (const std::size_t move : {0, 1, 2, 2, 3}) {
            INFO(fmt::format("{} {} n={} d={} nlist={} {} move {}", level, shapes::name(kind), n, d, nlist,
                             metric_name(metric), move));
            REQUIRE(difference(assign(*held, metric, n, moves[move], d), expected[move]) == "");
          }
        }
      }
    }
  }
}

TEST_CASE("nearest: lists alone are the same, in batches of any size") {
  constexpr std::size_t n = 200, d = 20, nlist = 50;
  for (const auto kind : shapes::all_kinds()) {
    shapes::Random random(8);
    const auto rows = shapes::matrix(kind, n, d, random), centroids = shapes::matrix(kind, nlist, d, random);
    for (const Metric metric : {Metric::l2, Metric::ip}) {
      const detail::CentroidSet set({centroids.data(), nlist, d}, metric != Metric::l2);
      const auto expected = expected_assignment(metric, rows, centroids, d).lists;
      for (const auto& level : levels()) {
        for (const std::size_t batch : {n, std::size_t{64}, std::size_t{31}}) {
          std::vector<std::int32_t> lists(n);
          for (std::size_t first = 0; first < n; first += batch) {
            const std::size_t count = std::min(batch, n - first);
            detail::cpu_backend_at(level).assign(set.corpus(), {rows.data() + first * d, count, d},
                                                 lists.data() + first, nullptr, 2);
          }
          INFO(level << " " << shapes::name(kind) << " " << metric_name(metric) << " batch " << batch);
          CHECK(lists == expected);
        }
      }
    }
  }
}

TEST_CASE("nearest: sums that follow an assignment equal those made anew") {
  constexpr std::size_t n = 500, d = 13, nlist = 17;
  shapes::Random random(9);
  const auto rows = shapes::matrix(shapes::Kind::normal, n, d, random);
  const auto held = detail::cpu_backend().hold({rows.data(), n, d}, 2, 0);
  float largest = 0;
  for (const float x : rows) largest = std::max(largest, std::abs(x));
  const auto fixed = detail::FixedPoint::of(largest, n);
  std::vector<std::int32_t> lists(n), before(n);
  std::vector<std::uint64_t> sums(nlist * d, 77), sizes(nlist, 77);
  // All rows move, some, none, nearly all.
  for (const std::size_t moving : {n, std::size_t{40}, std::size_t{0}, std::size_t{450}}) {
    const bool first = moving == n;
    before = lists;
    for (std::size_t i = 0; i < moving; ++i) lists[i * n / moving] = static_cast<std::int32_t>(random.below(nlist));
    held->update_sums(fixed, nlist, first ? nullptr : before.data(), lists.data(), sums.data(), sizes.data());
    std::vector<std::uint64_t> expected_sums(nlist * d), expected_sizes(nlist);
    for (std::size_t i = 0; i < n; ++i) {
      const auto list = static_cast<std::size_t>(lists[i]);
      detail::accumulate(&rows[i * d], d, fixed.magic, &expected_sums[list * d]);
      ++expected_sizes[list];
    }
    CHECK(sums == expected_sums);
    CHECK(sizes == expected_sizes);
  }
}

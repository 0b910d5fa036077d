// k-means: against a plain copy of its definition, and the same bytes whatever runs it.

#include "kmeans/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "engine_fixture.h"
#include "kmeans/fixed_point.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

namespace {

std::vector<float> make_rows(shapes::Kind kind, std::size_t n, std::size_t d, std::uint64_t seed = 31) {
  shapes::Random random(seed);
  return shapes::matrix(kind, n, d, random);
}

struct Trained {
  std::vector<float> centroids;
  TrainReport report;
};

Trained train(Metric metric, const std::vector<float>& rows, std::size_t d, std::size_t nlist,
              const TrainParams& params) {
  IndexIVFFlat index(d, nlist, metric);
  Trained result;
  result.report = index.train({rows.data(), rows.size() / d, d}, params);
  result.centroids = index.centroids();
  return result;
}

TrainParams train_params(unsigned iterations, unsigned threads = 1, KMeansInit init = KMeansInit::random) {
  TrainParams params;
  params.iterations = iterations;
  params.threads = threads;
  params.init = init;
  return params;
}

/// The mean of chosen rows in wide integers: the sum of round(x * 2^s), divided, rounded.
float exact_mean(const std::vector<float>& rows, std::size_t d, std::size_t column,
                 const std::vector<std::size_t>& members, int shift) {
  long double sum = 0;  // Integers below 2^63: exact.
  for (const std::size_t i : members)
    sum += std::nearbyint(std::ldexp(static_cast<double>(rows[i * d + column]), shift));
  return static_cast<float>(std::ldexp(static_cast<double>(sum), -shift) / static_cast<double>(members.size()));
}

}  // namespace

TEST_CASE("fixed point: one sum is exact, order-free and never overflows") {
  shapes::Random random(3);
  for (const auto kind : shapes::all_kinds()) {
    for (const std::size_t n : {1, 2, 3, 1000, 4097}) {
      const auto values = shapes::matrix(kind, n, 1, random);
      float largest = 0;
      for (const float v : values) largest = std::max(largest, std::fabs(v));
      const auto fixed = detail::FixedPoint::of(largest, n);
      std::uint64_t forward = 0, backward = 0;
      for (std::size_t i = 0; i < n; ++i) {
        detail::accumulate(&values[i], 1, fixed.magic, &forward);
        detail::accumulate(&values[n - 1 - i], 1, fixed.magic, &backward);
      }
      CHECK(forward == backward);
      std::vector<std::size_t> members(n);
      std::iota(members.begin(), members.end(), std::size_t{0});
      CHECK(fixed.mean(forward, n) == exact_mean(values, 1, 0, members, fixed.shift));
      // The extreme: n times the largest value of either sign.
      for (const float extreme : {largest, -largest}) {
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < n; ++i) detail::accumulate(&extreme, 1, fixed.magic, &sum);
        CHECK(fixed.mean(sum, n) == extreme);
      }
    }
  }
  // The scale leaves room for any number of rows that fits 32 bits, at any magnitude.
  for (const float largest : {std::numeric_limits<float>::max(), 1.0f, std::numeric_limits<float>::denorm_min()}) {
    for (const std::uint64_t rows : {std::uint64_t{1}, std::uint64_t{1} << 20, (std::uint64_t{1} << 32) - 1}) {
      const auto fixed = detail::FixedPoint::of(largest, rows);
      const double one = std::ldexp(static_cast<double>(largest), fixed.shift);
      CHECK(one <= 0x1p51);
      CHECK(one * static_cast<double>(rows) <= 0x1p62);
      CHECK(fixed.magic * fixed.inverse > 0);
      CHECK(std::isfinite(fixed.magic));
    }
  }
}

TEST_CASE("k-means: the random start takes distinct rows, all of them when nlist = n") {
  for (const std::size_t n : {1, 2, 10, 1000}) {
    const auto all = detail::random_rows(n, n, 5);
    const std::set<std::size_t> distinct(all.begin(), all.end());
    CHECK(distinct.size() == n);
    CHECK(*distinct.rbegin() == n - 1);
    const auto some = detail::random_rows(n, (n + 1) / 2, 5);
    CHECK(std::equal(some.begin(), some.end(), all.begin()));
  }
  CHECK(detail::random_rows(1000, 20, 5) != detail::random_rows(1000, 20, 6));
  // Golden: the definition in kmeans.h, worked by hand from the first numbers of Philox(0, 0).
  const auto golden = detail::random_rows(100, 2, 0);
  CHECK(golden[0] == 88);      // floor(0xe169c58d6627e8d5 * 100 / 2^64)
  CHECK(golden[1] == 1 + 59);  // floor(0x9b00dbd8bc57ac4c * 99 / 2^64)
}

TEST_CASE("k-means: one iteration equals its definition") {
  for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    for (const auto kind : {shapes::Kind::normal, shapes::Kind::clustered, shapes::Kind::offset, shapes::Kind::mixed}) {
      constexpr std::size_t n = 300, d = 7, nlist = 5;
      const auto given = make_rows(kind, n, d);
      const auto rows = metric == Metric::cosine ? oracle::normalized(given, d) : given;
      std::vector<float> start;
      for (const std::size_t i : detail::random_rows(n, nlist, 1234)) {
        start.insert(start.end(), rows.begin() + static_cast<std::ptrdiff_t>(i * d),
                     rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * d));
      }
      if (metric != Metric::l2) start = oracle::normalized(start, d);
      const auto lists = oracle::assign(metric, {rows, {}, d}, {start, {}, d});
      std::vector<std::vector<std::size_t>> members(nlist);
      double objective = 0, squares = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const auto list = static_cast<std::size_t>(lists[i]);
        members[list].push_back(i);
        objective += oracle::canonical_value(metric, &rows[i * d], &start[list * d], d);
      }
      float largest = 0;
      for (const float v : rows) largest = std::max(largest, std::fabs(v));
      const int shift = detail::FixedPoint::of(largest, n).shift;
      const auto found = train(metric, given, d, nlist, train_params(1));
      if (std::any_of(members.begin(), members.end(), [](const auto& m) { return m.empty(); })) continue;
      std::vector<float> expected(nlist * d);
      for (std::size_t c = 0; c < nlist; ++c) {
        squares += static_cast<double>(members[c].size()) * static_cast<double>(members[c].size());
        for (std::size_t j = 0; j < d; ++j) expected[c * d + j] = exact_mean(rows, d, j, members[c], shift);
      }
      if (metric != Metric::l2) expected = oracle::normalized(expected, d);
      INFO(metric_name(metric) << " " << shapes::name(kind));
      CHECK(same_bits(found.centroids, expected));
      CHECK(found.report.objective == std::vector<double>{objective});
      CHECK(std::abs(found.report.imbalance - nlist * squares / (n * n)) < 1e-12);
      CHECK(found.report.rows == n);
      CHECK(found.report.splits == 0);
    }
  }
}

TEST_CASE("k-means: the same bytes on every level and number of threads") {
  for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    for (const auto kind : shapes::all_kinds()) {
      const auto rows = make_rows(kind, 300, 19);
      for (const auto init : {KMeansInit::random, KMeansInit::plus_plus}) {
        Trained first;
        for (const auto& level : levels()) {
          const ForcedLevel forced(level);
          for (const unsigned threads : {1u, 2u, 7u}) {
            const auto found = train(metric, rows, 19, 9, train_params(3, threads, init));
            if (first.centroids.empty()) first = found;
            INFO(metric_name(metric) << " " << shapes::name(kind) << " " << level << " threads " << threads);
            CHECK(same_bits(found.centroids, first.centroids));
            CHECK(found.report.objective == first.report.objective);
            CHECK(found.report.splits == first.report.splits);
          }
        }
        for (const float c : first.centroids) CHECK(std::isfinite(c));
      }
    }
  }
}

TEST_CASE("k-means: the objective improves and ends when nothing moves") {
  const auto rows = make_rows(shapes::Kind::clustered, 2000, 8);
  const auto l2 = train(Metric::l2, rows, 8, 10, train_params(100, 2));
  CHECK(std::is_sorted(l2.report.objective.rbegin(), l2.report.objective.rend()));
  CHECK(l2.report.objective.size() < 100);
  const auto cosine = train(Metric::cosine, rows, 8, 10, train_params(10, 2));
  CHECK(cosine.report.objective.back() > cosine.report.objective.front());
  const auto plus = train(Metric::l2, rows, 8, 10, train_params(1, 2, KMeansInit::plus_plus));
  const auto random = train(Metric::l2, rows, 8, 10, train_params(1, 2));
  CHECK(plus.report.objective[0] < random.report.objective[0]);
}

TEST_CASE("k-means: ++ draws rows that differ while there are any") {
  // Five distinct rows among 200: the first five choices are those five.
  const auto rows = make_rows(shapes::Kind::duplicates, 200, 3);
  std::set<std::vector<float>> distinct;
  for (std::size_t i = 0; i < 200; ++i) distinct.insert({rows.begin() + i * 3, rows.begin() + (i + 1) * 3});
  const detail::Resources resources{2, 1 << 20};
  const MatrixView view(rows.data(), 200, 3);
  const auto held = detail::cpu_backend().hold(view, 2, 1 << 20);
  const auto chosen = detail::plus_plus_rows(*held, view, 9, 7, resources, {});
  CHECK(std::set<std::size_t>(chosen.begin(), chosen.end()).size() == 9);
  std::set<std::vector<float>> found;
  for (std::size_t c = 0; c < distinct.size(); ++c) {
    found.insert({rows.begin() + chosen[c] * 3, rows.begin() + (chosen[c] + 1) * 3});
  }
  CHECK(found == distinct);
}

TEST_CASE("k-means: identical rows train, and empty lists are split from the largest") {
  const std::vector<float> rows(50 * 4, 2.0f);
  const auto found = train(Metric::l2, rows, 4, 8, train_params(1));
  CHECK(found.report.objective == std::vector<double>{0});
  CHECK(found.report.splits == 7);
  CHECK(found.report.imbalance == 8);
  // Both halves move, in opposite directions, which alternate over the columns.
  const float up = 2.0f * (1 + 1.0f / 1024), down = 2.0f * (1 - 1.0f / 1024);
  CHECK(train(Metric::l2, rows, 4, 2, train_params(1)).centroids ==
        std::vector<float>{down, up, down, up, up, down, up, down});
  // 50 -> 25 + 25; the first of equals is split again: 13 + 12, then the other one.
  const auto four = train(Metric::l2, rows, 4, 4, train_params(1)).centroids;
  CHECK(four[0] == down * (1 - 1.0f / 1024));
  CHECK(four[4] == up * (1 - 1.0f / 1024));
  CHECK(four[8] == down * (1 + 1.0f / 1024));
  CHECK(four[12] == up * (1 + 1.0f / 1024));
  for (const float largest : {0.0f, std::numeric_limits<float>::max()}) {
    const std::vector<float> extreme(50 * 4, largest);
    for (const auto init : {KMeansInit::random, KMeansInit::plus_plus}) {
      for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
        const auto trained = train(metric, extreme, 4, 8, train_params(3, 1, init));
        CHECK(
            std::all_of(trained.centroids.begin(), trained.centroids.end(), [](float c) { return std::isfinite(c); }));
      }
    }
  }
}

TEST_CASE("k-means: as many lists as rows, and more") {
  const auto rows = make_rows(shapes::Kind::normal, 30, 4);
  const auto exact = train(Metric::l2, rows, 4, 30, train_params(5));
  CHECK(exact.report.objective == std::vector<double>{0, 0});
  CHECK(exact.report.imbalance == 1);
  CHECK(error_of([&] { train(Metric::l2, rows, 4, 31, train_params(5)); }) ==
        "misuse: expected at least as many training rows as lists, found 30 rows for nlist 31; train on more rows or "
        "lower "
        "nlist");
  CHECK(error_of([&] { train(Metric::l2, rows, 4, 3, train_params(0)); }) ==
        "misuse: expected at least 1 iteration of k-means, found 0");
}

TEST_CASE("k-means: seeds differ, and the seed and the report are kept in the index") {
  const auto rows = make_rows(shapes::Kind::normal, 400, 6);
  auto params = train_params(3);
  const auto a = train(Metric::l2, rows, 6, 9, params);
  params.seed = 99;
  IndexIVFFlat index(6, 9, Metric::l2);
  index.train({rows.data(), 400, 6}, params);
  CHECK_FALSE(same_bits(index.centroids(), a.centroids));
  const auto info = index.info();
  CHECK(info.seed == 99);
  CHECK_THAT(info.metadata,
             Contains(R"("centroids":"k-means","init":"random","iterations":3,"seed":99,"train_rows":400)"));
}

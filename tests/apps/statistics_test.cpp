#include "bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/catch.hpp"

using namespace ivf::bench;

namespace {

bool near(double a, double b) { return std::fabs(a - b) < 1e-9 * std::max(1.0, std::fabs(b)); }

}  // namespace

TEST_CASE("quantiles interpolate between ranks") {
  const std::vector<double> values{4, 1, 3, 2};
  CHECK(median(values) == 2.5);
  CHECK(minimum(values) == 1);
  CHECK(maximum(values) == 4);
  CHECK(quantile(values, 0.25) == 1.75);
  CHECK(quantile(values, 1) == 4);
  CHECK(near(relative_spread(values), 1.5 / 2.5));
  CHECK(median(std::vector<double>{7}) == 7);
}

TEST_CASE("the ratio of two series has the interval of the rank test") {
  const std::vector<double> numerator{20, 21, 22, 23, 24}, denominator{10, 11, 12, 13, 14};
  const Ratio ratio = ratio_of_medians(numerator, denominator);
  // Tables of the Mann-Whitney test: with 5 and 5 values U <= 2 has a one-sided probability of 4 / 252.
  CHECK(near(ratio.confidence, 1 - 2 * 4.0 / 252));
  std::vector<double> all;
  for (const double a : numerator) {
    for (const double b : denominator) all.push_back(a / b);
  }
  std::sort(all.begin(), all.end());
  CHECK(near(ratio.value, all[12]));
  CHECK(near(ratio.low, all[2]));
  CHECK(near(ratio.high, all[22]));
}

TEST_CASE("the ratio of pairs has the interval of the signed-rank test") {
  const std::vector<double> numerator{2, 4, 6, 8, 10, 12}, denominator{1, 2, 3, 4, 5, 6};
  const Ratio exact = ratio_of_pairs(numerator, denominator);
  CHECK(near(exact.value, 2));
  CHECK(near(exact.low, 2));
  CHECK(near(exact.high, 2));
  // Six pairs: a rank sum of 0 has a probability of 1 / 64 on either side.
  CHECK(near(exact.confidence, 1 - 2.0 / 64));
}

TEST_CASE("intervals of few values say how little they cover") {
  const Ratio one = ratio_of_medians(std::vector<double>{3}, std::vector<double>{2});
  CHECK(near(one.value, 1.5));
  CHECK(one.confidence == 0);
  const Ratio three = ratio_of_medians(std::vector<double>{3, 3, 3}, std::vector<double>{2, 2, 2});
  CHECK(near(three.confidence, 0.9));
}

TEST_CASE("one wild value moves neither estimate nor interval far") {
  const std::vector<double> base{10, 10.1, 9.9, 10, 10.05, 9.95, 10, 10.1},
      fresh{10, 10.1, 9.9, 10, 10.05, 9.95, 10, 1000};
  const Ratio ratio = ratio_of_medians(fresh, base);
  CHECK(std::fabs(ratio.value - 1) < 0.01);
  CHECK(ratio.high < 1.03);
}

TEST_CASE("long series are accepted") {
  std::vector<double> base, fresh;
  for (int i = 0; i < 5000; ++i) {
    base.push_back(10 + i % 7);
    fresh.push_back(20 + 2 * (i % 7));
  }
  const Ratio ratio = ratio_of_medians(fresh, base);
  CHECK(near(ratio.value, 2));
  CHECK(ratio.confidence >= 0.95);
  CHECK(ratio.low > 1.7);
  CHECK(ratio.high < 2.4);
  CHECK(near(ratio_of_pairs(fresh, base).value, 2));
}

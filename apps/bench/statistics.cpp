#include "bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace ivf::bench {
namespace {

constexpr double wanted_confidence = 0.95;

std::vector<double> sorted(std::span<const double> values) {
  std::vector<double> result(values.begin(), values.end());
  std::sort(result.begin(), result.end());
  return result;
}

double quantile_of_sorted(const std::vector<double>& values, double share) {
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  const double weight = place - static_cast<double>(below);
  // Not a weighted sum: that could leave [below, above] by a rounding, and infinities must not become NaN.
  return weight == 0 ? values[below] : values[below] + weight * (values[above] - values[below]);
}

/// Probabilities of each value of a statistic that is a sum of independent terms are found by convolution. `counts[u]`
/// is how many of all equally likely arrangements give u; adding a term that is 0 or `step` widens it.
void add_term(std::vector<double>& counts, std::size_t step) {
  counts.resize(counts.size() + step, 0);
  for (std::size_t u = counts.size(); u-- > step;) counts[u] += counts[u - step];
}

/// How many arrangements of n and m values give each value of the Mann-Whitney statistic: the coefficients of the
/// Gaussian binomial prod (1 - x^(m+i)) / (1 - x^i), i = 1..n.
std::vector<double> mann_whitney_counts(std::size_t n, std::size_t m) {
  const std::size_t most = n * m;
  std::vector<double> counts(most + 1, 0);
  counts[0] = 1;
  for (std::size_t i = 1; i <= n; ++i) {
    for (std::size_t u = most + 1; u-- > m + i;) counts[u] -= counts[u - m - i];
    for (std::size_t u = i; u <= most; ++u) counts[u] += counts[u - i];
  }
  return counts;
}

std::vector<double> signed_rank_counts(std::size_t n) {
  std::vector<double> counts{1};
  for (std::size_t rank = 1; rank <= n; ++rank) add_term(counts, rank);
  return counts;
}

/// The interval between the (c+1)-th smallest and the (c+1)-th largest of `logs`, with the largest c that keeps the
/// wanted confidence, or c = 0 when none does.
Ratio interval(std::vector<double> logs, const std::vector<double>& counts) {
  std::sort(logs.begin(), logs.end());
  double all = 0;
  for (const double count : counts) all += count;
  double tail = counts[0];
  std::size_t cut = 0;
  // P(statistic <= cut) on either side is left out.
  while (2 * (cut + 1) < logs.size() && 1 - 2 * (tail + counts[cut + 1]) / all >= wanted_confidence) {
    tail += counts[++cut];
  }
  Ratio ratio;
  ratio.value = std::exp(quantile_of_sorted(logs, 0.5));
  ratio.low = std::exp(logs[cut]);
  ratio.high = std::exp(logs[logs.size() - 1 - cut]);
  ratio.confidence = std::max(0.0, 1 - 2 * tail / all);
  return ratio;
}

// Beyond this many values the intervals are narrow anyway, and counting arrangements exactly would overflow a double.
constexpr std::size_t most_values = 60;

std::span<const double> shortened(std::span<const double> values) {
  return values.first(std::min(values.size(), most_values));
}

}  // namespace

double quantile(std::span<const double> values, double share) { return quantile_of_sorted(sorted(values), share); }
double median(std::span<const double> values) { return quantile(values, 0.5); }
double minimum(std::span<const double> values) { return *std::min_element(values.begin(), values.end()); }
double maximum(std::span<const double> values) { return *std::max_element(values.begin(), values.end()); }

double relative_spread(std::span<const double> values) {
  const std::vector<double> order = sorted(values);
  const double middle = quantile_of_sorted(order, 0.5);
  return middle > 0 ? (quantile_of_sorted(order, 0.75) - quantile_of_sorted(order, 0.25)) / middle : 0;
}

Ratio ratio_of_medians(std::span<const double> numerator, std::span<const double> denominator) {
  numerator = shortened(numerator);
  denominator = shortened(denominator);
  std::vector<double> logs;
  logs.reserve(numerator.size() * denominator.size());
  for (const double a : numerator) {
    for (const double b : denominator) logs.push_back(std::log(a / b));
  }
  return interval(std::move(logs), mann_whitney_counts(numerator.size(), denominator.size()));
}

Ratio ratio_of_pairs(std::span<const double> numerator, std::span<const double> denominator) {
  numerator = shortened(numerator);
  denominator = shortened(denominator);
  std::vector<double> pairs;
  for (std::size_t i = 0; i < numerator.size(); ++i) pairs.push_back(std::log(numerator[i] / denominator[i]));
  std::vector<double> walsh;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    for (std::size_t j = i; j < pairs.size(); ++j) walsh.push_back((pairs[i] + pairs[j]) / 2);
  }
  return interval(std::move(walsh), signed_rank_counts(pairs.size()));
}

}  // namespace ivf::bench

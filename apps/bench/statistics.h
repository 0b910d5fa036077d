#pragma once
/// \file
/// Robust statistics of timed runs. Other work on the machine only ever adds time, in rare and large pieces: medians
/// and ranks stay where they are when that happens, means do not.

#include <cstddef>
#include <optional>
#include <span>

namespace ivf::bench {

/// All take at least one value.
double median(std::span<const double> values);
double minimum(std::span<const double> values);
double maximum(std::span<const double> values);
/// Linear interpolation between the nearest ranks; `share` in [0, 1].
double quantile(std::span<const double> values, double share);
/// (third quartile - first quartile) / median: the relative spread of the middle half.
double relative_spread(std::span<const double> values);

/// A ratio with its 95 % confidence interval.
struct Ratio {
  double value = 1, low = 0, high = 0;
  double confidence = 0;  ///< What the interval really covers; few runs cannot reach 0.95.
};

/// numerator / denominator of two independent series of positive values: the Hodges-Lehmann estimate (the median of all
/// ratios of one value to another), with the interval that inverts the Mann-Whitney rank test. It needs no
/// assumption about the distribution of timings.
Ratio ratio_of_medians(std::span<const double> numerator, std::span<const double> denominator);

/// The same of pairs measured side by side (equal lengths): the median of the ratios of each pair's Walsh averages,
/// with the interval that inverts Wilcoxon's signed-rank test.
Ratio ratio_of_pairs(std::span<const double> numerator, std::span<const double> denominator);

}  // namespace ivf::bench

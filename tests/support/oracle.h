#pragma once
/// \file
/// What every engine answers to: the canonical definitions of docs/numerics.md written once more in plain scalar code,
/// sharing nothing with the library but the names of the metrics.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ivf/types.hpp"

namespace ivf::oracle {

/// A row and its canonical value for some query.
struct Hit {
  float value = 0;
  idx_t id = -1;
  friend bool operator==(const Hit& a, const Hit& b) { return a.id == b.id && a.value == b.value; }
};

/// Canonical squared distance and inner product, before the rounding to float32.
double squared_distance(const float* a, const float* b, std::size_t d);
double inner_product(const float* a, const float* b, std::size_t d);
/// The canonical value of a metric: rounded to float32, a zero being +0. Vectors of a cosine index are normalised
/// beforehand.
float canonical_value(Metric metric, const float* query, const float* row, std::size_t d);
/// The total order: better value first, then the smaller id.
bool comes_before(Metric metric, const Hit& a, const Hit& b);
/// What stands for a missing result.
Hit missing(Metric metric);

/// Canonical normalisation; zero rows stay zero.
std::vector<float> normalized(std::span<const float> rows, std::size_t d);

/// One float32 in two planes, and back.
struct PlanePair {
  std::uint16_t hi = 0, lo = 0;
};
PlanePair split(float x);
float join(PlanePair planes);

/// Rows with their ids; an empty `ids` means that the position is the id.
struct Rows {
  std::span<const float> values;
  std::span<const idx_t> ids;
  std::size_t d = 0;

  std::size_t count() const { return d == 0 ? 0 : values.size() / d; }
  const float* row(std::size_t i) const { return values.data() + i * d; }
  idx_t id(std::size_t i) const { return ids.empty() ? static_cast<idx_t>(i) : ids[i]; }
};

/// The hits of all `candidates` (positions in `rows`) in the total order.
std::vector<Hit> ranked(Metric metric, const float* query, const Rows& rows, std::span<const std::size_t> candidates);
/// The first k of them, padded with missing().
std::vector<Hit> topk(Metric metric, const float* query, const Rows& rows, std::span<const std::size_t> candidates,
                      std::size_t k);
/// Those within the radius: value < radius (L2), value > radius (inner product).
std::vector<Hit> within(Metric metric, const float* query, const Rows& rows, std::span<const std::size_t> candidates,
                        float radius);
/// 0 .. n-1.
std::vector<std::size_t> everything(std::size_t n);

/// The canonical nearest centroid of each row.
std::vector<std::int32_t> assign(Metric metric, const Rows& rows, const Rows& centroids);

/// An inverted file over given centroids, rows in order of arrival.
class InvertedFile {
 public:
  /// Rows and centroids are taken as they are: normalise them first for cosine.
  InvertedFile(Metric metric, const Rows& rows, const Rows& centroids);
  /// Positions of the rows that a query scans, in scan order: its `nprobe` best lists, best first, the list that would
  /// pass `max_codes` cut so that exactly so many rows are scanned.
  std::vector<std::size_t> candidates(const float* query, std::size_t nprobe, std::uint64_t max_codes) const;
  const std::vector<std::vector<std::size_t>>& lists() const { return lists_; }

 private:
  Metric metric_;
  Rows centroids_;
  std::vector<std::vector<std::size_t>> lists_;
};

}  // namespace ivf::oracle

#include "index/segment.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "index/row_sets.h"
#include "parallel.h"

namespace ivf::detail {
namespace {

constexpr std::size_t plane_tail = 32;  // Elements: the 64 bytes that a scan may read past the end.
constexpr std::size_t block_rows = 512;
constexpr std::size_t rows_ahead = 8;  // Rows of a list lie anywhere in what was given.

/// `value` rounded up to float32.
float round_up(double value) noexcept {
  const auto rounded = static_cast<float>(value);
  return rounded < value ? std::nextafter(rounded, std::numeric_limits<float>::infinity()) : rounded;
}

/// Blocks of rows end within lists, so that several threads may raise the bound of one list. The maximum does not
/// depend on their order.
void raise_shared(float& bound, float value) noexcept {
  const std::atomic_ref<float> shared(bound);
  float seen = shared.load(std::memory_order_relaxed);
  while (value > seen && !shared.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

/// Positions of the incoming rows in the order of the segment.
struct ListOrder {
  std::vector<std::uint64_t> offsets;
  Buffer<std::uint32_t> rows;
};

ListOrder sort_by_list(const std::int32_t* lists, std::size_t n, std::size_t nlist) {
  ListOrder order{std::vector<std::uint64_t>(nlist + 1), Buffer<std::uint32_t>(n)};
  for (std::size_t i = 0; i < n; ++i) ++order.offsets[static_cast<std::size_t>(lists[i]) + 1];
  for (std::size_t l = 0; l < nlist; ++l) order.offsets[l + 1] += order.offsets[l];
  std::vector<std::uint64_t> cursor(order.offsets.begin(), order.offsets.end() - 1);
  for (std::size_t i = 0; i < n; ++i) {
    order.rows.data()[cursor[static_cast<std::size_t>(lists[i])]++] = static_cast<std::uint32_t>(i);
  }
  return order;
}

/// Fills a segment row by row: read where they came from, written in sequence.
class Filler {
 public:
  Filler(OwnedSegment& segment, const CentroidSet* centroids, const IncomingRows& incoming, const IncomingIds& ids,
         const std::uint32_t* order, const float* values)
      : segment_(segment), centroids_(centroids), incoming_(incoming), ids_(ids), order_(order), values_(values) {}

  /// Rows [begin, end) of the segment. Returns whether every lo is zero.
  bool fill(std::size_t begin, std::size_t end) {
    const std::size_t dim = segment_.dim;
    std::vector<float> copy(incoming_.normalize ? dim : 0), centroid(centroids_ != nullptr ? dim : 0);
    bool lo_is_zero = true;
    const auto& offsets = segment_.offsets;
    auto list = static_cast<std::size_t>(std::upper_bound(offsets.begin(), offsets.end(), begin) - offsets.begin()) - 1;
    while (begin < end) {
      const std::size_t stop = std::min<std::size_t>(end, offsets[list + 1]);
      if (begin < stop && centroids_ != nullptr) centroids_->get(list, centroid.data());
      ListBound bound;
      for (; begin < stop; ++begin) {
        const std::size_t source = order_ == nullptr ? begin : order_[begin];
        if (order_ != nullptr && begin + rows_ahead < end)
          prefetch_row(incoming_.rows.row(order_[begin + rows_ahead]), dim);
        const float* row = incoming_.get(source, copy.data());
        lo_is_zero &= split_planes(row, dim, segment_.hi.data() + begin * dim, segment_.lo.data() + begin * dim);
        bound.residual = std::max(bound.residual, residual_bound(row, dim, segment_.norms.data()[begin]));
        segment_.ids.data()[begin] = ids_.get(source);
        if (centroids_ != nullptr) {
          bound.radius = std::max(bound.radius, distance_bound(values_[source], centroids_->corpus().inner_product, row,
                                                               centroid.data(), dim));
        }
      }
      bound.raise(segment_.residuals[list], centroids_ != nullptr ? &segment_.radii[list] : nullptr);
      ++list;
    }
    return lo_is_zero;
  }

 private:
  OwnedSegment& segment_;
  const CentroidSet* centroids_;
  const IncomingRows& incoming_;
  const IncomingIds& ids_;
  const std::uint32_t* order_;  ///< Null: in order of arrival.
  const float* values_;
};

}  // namespace

double centroid_distance(const float* row, const float* centroid, std::size_t dim) noexcept {
  // Eight sums of at most 2^13 terms: their rounding errors stay below a relative 2^-39.
  double sums[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= dim; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) {
      const double t = static_cast<double>(row[i + j]) - static_cast<double>(centroid[i + j]);
      sums[j] += t * t;
    }
  }
  for (; i < dim; ++i) {
    const double t = static_cast<double>(row[i]) - static_cast<double>(centroid[i]);
    sums[i % 8] += t * t;
  }
  return std::sqrt(((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7])));
}

double distance_bound(float value, bool inner_product, const float* row, const float* centroid,
                      std::size_t dim) noexcept {
  // The canonical value was rounded to float32: the next larger one bounds the exact squared distance.
  if (!inner_product && value < std::numeric_limits<float>::max()) {
    return std::sqrt(static_cast<double>(std::nextafter(value, std::numeric_limits<float>::infinity())));
  }
  return centroid_distance(row, centroid, dim);
}

void ListBound::raise(float& stored_residual, float* stored_radius) const noexcept {
  raise_shared(stored_residual, residual);
  // The slack covers the error of the distance (2^-36) many times over.
  if (stored_radius != nullptr) raise_shared(*stored_radius, round_up(radius * (1 + 0x1p-30)));
}

format::SegmentView OwnedSegment::view() const noexcept {
  format::SegmentView view;
  view.rows = rows;
  view.offsets = offsets;
  view.ids = {ids.data(), rows};
  view.planes.hi = {hi.data(), rows * dim};
  if (!lo.empty()) view.planes.lo = {lo.data(), rows * dim};
  view.planes.norms = {norms.data(), rows};
  view.radii = radii;
  view.residuals = residuals;
  return view;
}

std::uint64_t segment_bytes(const format::SegmentView& segment) {
  return segment.offsets.size_bytes() + segment.ids.size_bytes() + segment.planes.hi.size_bytes() +
         segment.planes.lo.size_bytes() + segment.planes.norms.size_bytes() + segment.radii.size_bytes() +
         segment.residuals.size_bytes();
}

Buffer<std::uint16_t> make_plane(std::size_t elements) {
  Buffer<std::uint16_t> result(elements + plane_tail);
  std::fill_n(result.data() + elements, plane_tail, std::uint16_t{0});
  return result;
}

void copy_rows(const format::SegmentView& from, std::uint64_t first, std::uint64_t count, OwnedSegment& segment,
               std::uint64_t at) {
  const std::size_t dim = segment.dim;
  std::copy_n(from.ids.data() + first, count, segment.ids.data() + at);
  std::copy_n(from.planes.norms.data() + first, count, segment.norms.data() + at);
  std::copy_n(from.planes.hi.data() + first * dim, count * dim, segment.hi.data() + at * dim);
  if (!from.planes.lo.empty()) {
    std::copy_n(from.planes.lo.data() + first * dim, count * dim, segment.lo.data() + at * dim);
  } else if (!segment.lo.empty()) {
    std::fill_n(segment.lo.data() + at * dim, count * dim, std::uint16_t{0});
  }
}

std::shared_ptr<const OwnedSegment> build_segment(Backend& backend, const CentroidSet* centroids,
                                                  const IncomingRows& incoming, const IncomingIds& ids,
                                                  const Resources& resources, const Progress& progress) {
  const std::size_t n = incoming.rows.rows;
  auto segment = std::make_shared<OwnedSegment>();
  segment->rows = n;
  segment->dim = incoming.rows.dim;
  ListOrder order;
  Buffer<float> values;
  if (centroids == nullptr) {
    segment->offsets = {0, n};
  } else {
    Buffer<std::int32_t> lists(n);
    values = Buffer<float>(n);
    assign_rows(backend, *centroids, incoming, lists.data(), values.data(), resources, progress);
    order = sort_by_list(lists.data(), n, centroids->count());
    segment->offsets = std::move(order.offsets);
    segment->radii.resize(centroids->count());
  }
  segment->ids = Buffer<idx_t>(n);
  segment->hi = make_plane(n * segment->dim);
  segment->lo = make_plane(n * segment->dim);
  segment->norms = Buffer<float>(n);
  segment->residuals.resize(segment->offsets.size() - 1);

  Filler filler(*segment, centroids, incoming, ids, order.rows.data(), values.data());
  std::atomic<bool> lo_is_zero{true};
  parallel_for(resources.threads, n, block_rows, [&](std::size_t begin, std::size_t end, unsigned) {
    if (!filler.fill(begin, end)) lo_is_zero.store(false, std::memory_order_relaxed);
  });
  if (lo_is_zero) segment->lo = {};
  return segment;
}

std::shared_ptr<const OwnedSegment> merge_segments(const format::SegmentView& a, const format::SegmentView& b,
                                                   std::size_t dim, unsigned threads) {
  const std::size_t nlist = a.offsets.size() - 1;
  auto merged = std::make_shared<OwnedSegment>();
  merged->dim = dim;
  merged->offsets.resize(nlist + 1);
  const format::SegmentView both[] = {a, b};
  const auto present = present_rows(both, nlist);
  for (std::size_t l = 0; l < nlist; ++l) merged->offsets[l + 1] = merged->offsets[l] + present[l];
  merged->rows = merged->offsets[nlist];
  merged->ids = Buffer<idx_t>(merged->rows);
  merged->hi = make_plane(merged->rows * dim);
  if (!a.planes.lo.empty() || !b.planes.lo.empty()) merged->lo = make_plane(merged->rows * dim);
  merged->norms = Buffer<float>(merged->rows);
  merged->residuals.resize(nlist);
  merged->radii.resize(a.radii.size());

  const auto copy = [&](const format::SegmentView& from, std::size_t list, std::size_t to) {
    for_rows_outside(from.removed, from.offsets[list], from.offsets[list + 1],
                     [&](std::uint64_t first, std::uint64_t last) {
                       copy_rows(from, first, last - first, *merged, to);
                       to += last - first;
                     });
    merged->residuals[list] = std::max(merged->residuals[list], from.residuals[list]);
    if (!merged->radii.empty()) merged->radii[list] = std::max(merged->radii[list], from.radii[list]);
    return to;
  };
  parallel_for(threads, nlist, 16, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t l = begin; l < end; ++l) {
      copy(b, l, copy(a, l, merged->offsets[l]));
      if (present[l] != 0) continue;
      merged->residuals[l] = 0;
      if (!merged->radii.empty()) merged->radii[l] = 0;
    }
  });
  return merged;
}

}  // namespace ivf::detail

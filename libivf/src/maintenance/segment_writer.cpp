#include "maintenance/segment_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "index/segment.h"
#include "ivf/error.hpp"
#include "parallel.h"
#include "rows.h"

namespace ivf::detail {
namespace {

constexpr std::size_t rows_at_a_time = 512;
constexpr std::size_t piece_values = 1 << 16;
constexpr std::size_t rows_of_a_survey = 1 << 17;

/// What has to be known of the rows before they are written.
struct Survey {
  std::vector<float> radii, residuals;
  bool lo_is_zero = true;
};

class Surveyor {
 public:
  Surveyor(const MergedRows& rows, const CentroidSet* centroids, const std::string& name)
      : rows_(rows), centroids_(centroids), name_(name) {
    survey_.residuals.resize(rows.offsets().size() - 1);
    if (centroids != nullptr) survey_.radii.resize(centroids->count());
  }

  Survey run(const Resources& resources, const Progress& progress) {
    for (std::uint64_t first = 0; first < rows_.rows(); first += rows_of_a_survey) {
      if (progress) progress("measuring", first, rows_.rows());
      const std::size_t count = std::min<std::uint64_t>(rows_of_a_survey, rows_.rows() - first);
      parallel_for(resources.threads, count, rows_at_a_time, [&](std::size_t begin, std::size_t end, unsigned) {
        if (!measure(first + begin, first + end)) lo_is_zero_.store(false, std::memory_order_relaxed);
      });
    }
    survey_.lo_is_zero = lo_is_zero_;
    return std::move(survey_);
  }

 private:
  /// Returns whether every lo is zero.
  bool measure(std::uint64_t row, std::uint64_t end) {
    const std::size_t dim = rows_.dim();
    const std::size_t most = std::clamp<std::size_t>(piece_values / dim, 1, rows_at_a_time);
    std::vector<float> values(most * dim), centroid(dim);
    std::vector<std::uint16_t> lo(most * dim);
    const auto& offsets = rows_.offsets();
    auto list = static_cast<std::size_t>(std::upper_bound(offsets.begin(), offsets.end(), row) - offsets.begin()) - 1;
    bool zero = true;
    for (; row < end; ++list) {
      const std::uint64_t stop = std::min<std::uint64_t>(end, offsets[list + 1]);
      if (row < stop && centroids_ != nullptr) centroids_->get(list, centroid.data());
      ListBound bound;
      while (row < stop) {
        const std::size_t count = std::min<std::uint64_t>(most, stop - row);
        rows_.values(row, count, values.data());
        check_finite(list, {values.data(), count * dim});
        if (zero) {
          const std::span<std::uint16_t> part(lo.data(), count * dim);
          rows_.lo(row * dim, part);
          zero = std::all_of(part.begin(), part.end(), [](std::uint16_t value) { return value == 0; });
        }
        for (std::size_t i = 0; i < count; ++i) measure(values.data() + i * dim, centroid.data(), bound);
        row += count;
      }
      bound.raise(survey_.residuals[list], centroids_ != nullptr ? &survey_.radii[list] : nullptr);
    }
    return zero;
  }

  void check_finite(std::size_t list, std::span<const float> values) const {
    if (first_nonfinite(values.data(), values.size()) == values.size()) return;
    throw Error(ErrorKind::corrupt,
                fmt::format("{}: expected finite values, found others in a row of list {}; `ivf verify` says which; "
                            "restore the file from its source",
                            name_, list));
  }

  void measure(const float* row, const float* centroid, ListBound& bound) const {
    float norm = 0;
    bound.residual = std::max(bound.residual, residual_bound(row, rows_.dim(), norm));
    if (centroids_ == nullptr) return;
    const bool inner_product = centroids_->corpus().inner_product;
    const float value = inner_product ? 0 : squared_distance(row, centroid, rows_.dim());
    bound.radius = std::max(bound.radius, distance_bound(value, inner_product, row, centroid, rows_.dim()));
  }

  const MergedRows& rows_;
  const CentroidSet* centroids_;
  const std::string& name_;
  Survey survey_;
  std::atomic<bool> lo_is_zero_{true};
};

}  // namespace

unsigned writer_threads(const Resources& resources) noexcept {
  // A block of 4 MiB, or frames of 1 MiB, their compressed forms and the compressor's tables.
  constexpr std::uint64_t thread_bytes = std::uint64_t{16} << 20;
  return static_cast<unsigned>(std::clamp<std::uint64_t>(resources.max_memory / thread_bytes, 1, resources.threads));
}

void write_rows(format::Writer& writer, const MergedRows& rows, const CentroidSet* centroids, const std::string& name,
                const Resources& resources, const Progress& progress) {
  if (rows.rows() == 0) return;
  const Survey survey = Surveyor(rows, centroids, name).run(resources, progress);
  const std::uint64_t row_bytes =
      sizeof(idx_t) + sizeof(float) + rows.dim() * sizeof(std::uint16_t) * (survey.lo_is_zero ? 1 : 2);
  std::atomic<std::uint64_t> bytes{0};
  const auto caller = std::this_thread::get_id();
  // Compression may ask for some of the values again.
  const auto report = [&](std::uint64_t made) {
    const std::uint64_t done = (bytes += made) / row_bytes;
    if (progress && std::this_thread::get_id() == caller) progress("writing", std::min(done, rows.rows()), rows.rows());
  };
  const auto make = [&]<class T>(void (MergedRows::*values)(std::uint64_t, std::span<T>) const) {
    return [&, values](std::uint64_t first, std::span<T> out) {
      (rows.*values)(first, out);
      report(out.size_bytes());
    };
  };
  format::SegmentSource segment;
  segment.rows = rows.rows();
  segment.offsets = rows.offsets();
  segment.radii = survey.radii;
  segment.residuals = survey.residuals;
  segment.ids = make(&MergedRows::ids);
  segment.norms = make(&MergedRows::norms);
  segment.hi = make(&MergedRows::hi);
  if (!survey.lo_is_zero) segment.lo = make(&MergedRows::lo);
  writer.stream_segment(segment);
}

}  // namespace ivf::detail

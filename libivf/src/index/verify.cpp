// Checks that what an index file says about its rows is true.

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <mutex>

#include "index/checks.h"
#include "index/impl.h"
#include "parallel.h"
#include "rows.h"

namespace ivf {
namespace {

/// Where a row is, for messages.
struct Place {
  std::size_t segment = 0;
  std::uint64_t row = 0;
  std::size_t list = 0;
  idx_t id = 0;
};

/// Collects the complaint about the first bad row, whichever thread finds it.
class Complaints {
 public:
  void add(std::uint64_t row, std::string message) {
    const std::lock_guard lock(mutex_);
    if (message_.empty() || row < row_) {
      row_ = row;
      message_ = std::move(message);
    }
  }
  void raise() const {
    if (!message_.empty()) throw Error(ErrorKind::corrupt, message_);
  }

 private:
  std::mutex mutex_;
  std::uint64_t row_ = 0;
  std::string message_;
};

bool same_bits(float a, float b) { return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b); }

class Verifier {
 public:
  Verifier(std::string path, const format::Snapshot& snapshot, const RunOptions& options)
      : path_(std::move(path)),
        snapshot_(snapshot),
        parameters_(snapshot.parameters()),
        options_(options),
        resources_(detail::Resources::of(options)) {
    detail::check_stored_parameters(path_, parameters_);
    if (parameters_.kind == format::IndexKind::ivf) {
      centroids_ = std::make_unique<const detail::CentroidSet>(snapshot.centroids(), parameters_.nlist, parameters_.dim,
                                                               detail::is_inner_product(parameters_.metric));
    }
  }

  void check_centroids() const {
    if (centroids_ == nullptr) return;
    std::vector<float> centroid(parameters_.dim);
    for (std::size_t l = 0; l < parameters_.nlist; ++l) {
      centroids_->get(l, centroid.data());
      check_values([&] { return fmt::format("{}: centroid {}", path_, l); }, centroid.data(),
                   centroids_->planes().norms[l]);
    }
  }

  void check_segments() {
    const auto& segments = snapshot_.segments();
    for (std::size_t s = 0; s < segments.size(); ++s) {
      check_segment(s, segments[s]);
      done_ += segments[s].rows;
    }
  }

 private:
  std::string describe(const Place& place) const {
    return fmt::format("{}: segment {}, row {} (list {}, id {})", path_, place.segment, place.row, place.list,
                       place.id);
  }

  /// Throws unless the values are finite and have this norm. where() describes the place.
  template <class Where>
  void check_values(Where where, const float* row, float norm) const {
    const std::size_t bad = detail::first_nonfinite(row, parameters_.dim);
    if (bad != parameters_.dim) {
      throw Error(ErrorKind::corrupt, fmt::format("{}: expected finite values, found {} in column {}; restore the file "
                                                  "from its source",
                                                  where(), row[bad], bad));
    }
    float expected = 0;
    detail::squared_norms(MatrixView(row, 1, parameters_.dim), &expected);
    if (!same_bits(expected, norm)) {
      throw Error(ErrorKind::corrupt,
                  fmt::format("{}: expected the squared norm {}, found {}; restore the file from its source", where(),
                              expected, norm));
    }
  }

  /// The centroid of the list that a thread is in.
  struct ListCursor {
    std::vector<float> centroid;
    std::size_t list = detail::max_nlist;
  };

  void check_segment(std::size_t number, const format::SegmentView& segment) {
    const std::size_t dim = parameters_.dim;
    const std::size_t batch = static_cast<std::size_t>(
        std::clamp<std::uint64_t>(resources_.max_memory / 2 / (dim * sizeof(float)), 1, 65536));
    std::vector<float> rows(std::min<std::uint64_t>(batch, segment.rows) * dim);
    for (std::uint64_t first = 0; first < segment.rows; first += batch) {
      if (options_.progress) options_.progress("verify", done_ + first, snapshot_.rows());
      const std::size_t count = std::min<std::uint64_t>(batch, segment.rows - first);
      Complaints complaints;
      detail::parallel_for(resources_.threads, count, 64, [&](std::size_t begin, std::size_t end, unsigned) {
        ListCursor cursor{std::vector<float>(dim)};
        for (std::size_t i = begin; i < end; ++i) {
          try {
            check_row(number, segment, first + i, rows.data() + i * dim, cursor);
          } catch (const Error& error) {
            complaints.add(i, error.what());
            return;
          }
        }
      });
      complaints.raise();
      check_assignment(number, segment, first, MatrixView(rows.data(), count, dim));
    }
  }

  static std::size_t list_of(const format::SegmentView& segment, std::uint64_t row) {
    return static_cast<std::size_t>(std::upper_bound(segment.offsets.begin(), segment.offsets.end(), row) -
                                    segment.offsets.begin()) -
           1;
  }

  /// Decodes a row and checks what belongs to it alone.
  void check_row(std::size_t number, const format::SegmentView& segment, std::uint64_t i, float* row,
                 ListCursor& cursor) const {
    const std::size_t dim = parameters_.dim;
    const auto& planes = segment.planes;
    const Place place{number, i, list_of(segment, i), segment.ids[i]};
    const auto where = [&] { return describe(place); };
    detail::join_planes(planes.hi.data() + i * dim, planes.lo.empty() ? nullptr : planes.lo.data() + i * dim, dim, row);
    if (place.id == -1) {
      throw Error(ErrorKind::corrupt,
                  fmt::format("{}: expected an id other than -1; restore the file from its source", where()));
    }
    const float norm = planes.norms[i];
    check_values(where, row, norm);
    // Each value of a normalised row is within 2^-24 of the exact one, relatively, or within 2^-150.
    if (parameters_.metric == Metric::cosine && norm != 0 && !(std::fabs(norm - 1) < 1e-6f)) {
      throw Error(
          ErrorKind::corrupt,
          fmt::format("{}: expected a normalised row (cosine), found the squared norm {}; restore the file from its "
                      "source",
                      where(), norm));
    }
    if (!segment.residuals.empty()) {
      check_bound(place, "residual", detail::residual_bound(row, 1, dim), segment.residuals[place.list]);
    }
    if (!segment.radii.empty() && centroids_ != nullptr) {
      if (cursor.list != place.list) centroids_->get(place.list, cursor.centroid.data());
      cursor.list = place.list;
      check_bound(place, "radius", detail::centroid_distance(row, cursor.centroid.data(), dim),
                  segment.radii[place.list]);
    }
  }

  void check_bound(const Place& place, const char* what, double value, float bound) const {
    if (value <= static_cast<double>(bound)) return;
    throw Error(
        ErrorKind::corrupt,
        fmt::format("{}: expected the list's {} bound to be at least {}, found {}; restore the file from its source",
                    describe(place), what, value, bound));
  }

  void check_assignment(std::size_t number, const format::SegmentView& segment, std::uint64_t first,
                        MatrixView rows) const {
    if (centroids_ == nullptr) return;
    std::vector<std::int32_t> lists(rows.rows);
    std::vector<float> values(rows.rows);
    detail::assign_rows(detail::cpu_backend(), *centroids_, {rows, false}, lists.data(), values.data(), resources_, {});
    for (std::size_t i = 0; i < rows.rows; ++i) {
      const Place place{number, first + i, list_of(segment, first + i), segment.ids[first + i]};
      if (static_cast<std::size_t>(lists[i]) == place.list) continue;
      throw Error(ErrorKind::corrupt,
                  fmt::format("{}: expected it in list {}, whose centroid is nearest; restore the file "
                              "from its source",
                              describe(place), lists[i]));
    }
  }

  std::string path_;
  const format::Snapshot& snapshot_;
  const format::Parameters& parameters_;
  const RunOptions& options_;
  detail::Resources resources_;
  std::unique_ptr<const detail::CentroidSet> centroids_;
  std::uint64_t done_ = 0;
};

}  // namespace

void verify_index(const std::string& path, bool full, const RunOptions& options) {
  const unsigned threads = detail::Resources::of(options).threads;
  const auto snapshot = format::Snapshot::open(path, threads);
  if (!full) return;
  snapshot->verify_checksums(threads);
  Verifier verifier(path, *snapshot, options);
  verifier.check_centroids();
  verifier.check_segments();
}

}  // namespace ivf

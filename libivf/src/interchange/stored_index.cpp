// The contents of an index file, list by list and by id.

#include <fmt/format.h>

#include <algorithm>

#include "index/impl.h"
#include "index/row_sets.h"
#include "interchange/id_table.h"
#include "ivf/format/container.hpp"
#include "ivf/format/row_bits.hpp"
#include "ivf/interchange.hpp"
#include "rows.h"

namespace ivf {
namespace {

constexpr std::uint64_t batch_bytes = std::uint64_t{8} << 20;

/// Rows on their way to a visitor.
class Batch {
 public:
  Batch(std::size_t most, std::size_t dim, const StoredIndex::RowVisitor& visit)
      : most_(most), dim_(dim), visit_(visit) {}

  /// Takes rows of a segment; visits whenever it is full.
  void add(const format::SegmentView& segment, std::uint64_t first, std::uint64_t last) {
    while (first < last) {
      const std::size_t count = std::min<std::uint64_t>(last - first, most_ - ids_.size());
      const auto ids = segment.ids.subspan(first, count);
      ids_.insert(ids_.end(), ids.begin(), ids.end());
      const std::size_t at = values_.size();
      values_.resize(at + count * dim_);
      const std::size_t from = first * dim_;
      detail::join_planes(segment.planes.hi.data() + from,
                          segment.planes.lo.empty() ? nullptr : segment.planes.lo.data() + from, count * dim_,
                          values_.data() + at);
      first += count;
      if (ids_.size() == most_) flush();
    }
  }

  void flush() {
    if (ids_.empty()) return;
    visit_(ids_, MatrixView(values_.data(), ids_.size(), dim_));
    ids_.clear();
    values_.clear();
  }

 private:
  std::size_t most_, dim_;
  const StoredIndex::RowVisitor& visit_;
  std::vector<idx_t> ids_;
  std::vector<float> values_;
};

}  // namespace

class StoredIndex::Impl {
 public:
  Impl(const std::string& path, const RunOptions& options)
      : path_(path),
        progress_(options.progress),
        snapshot_(format::Snapshot::open(path, detail::Resources::of(options).threads)),
        parameters_(snapshot_->parameters()) {
    detail::check_stored_parameters(path, parameters_);
    const std::uint64_t bytes = std::min(batch_bytes, detail::Resources::of(options).max_memory / 4);
    batch_rows_ = static_cast<std::size_t>(
        std::clamp<std::uint64_t>(bytes / (parameters_.dim * sizeof(float) + sizeof(idx_t)), 1, 65536));
    std::uint64_t stored = 0;
    for (const format::SegmentView& segment : snapshot_->segments()) {
      starts_.push_back(stored);
      stored += segment.rows;
    }
    offsets_.resize(parameters_.nlist + 1);
    for (std::size_t l = 0; l < parameters_.nlist; ++l) {
      offsets_[l + 1] = offsets_[l];
      for (const format::SegmentView& segment : snapshot_->segments()) {
        const std::uint64_t begin = segment.offsets[l], end = segment.offsets[l + 1];
        offsets_[l + 1] += end - begin - format::count_rows(segment.removed, begin, end);
      }
    }
  }

  const format::Parameters& parameters() const noexcept { return parameters_; }
  const std::vector<std::uint64_t>& offsets() const noexcept { return offsets_; }

  void visit_centroids(const CentroidVisitor& visit) const {
    const format::Planes& planes = snapshot_->centroids();
    const std::size_t dim = parameters_.dim, count = planes.norms.size();
    std::vector<float> values(std::min(batch_rows_, count) * dim);
    for (std::size_t first = 0; first < count; first += batch_rows_) {
      const std::size_t rows = std::min(batch_rows_, count - first);
      detail::join_planes(planes.hi.data() + first * dim, planes.lo.empty() ? nullptr : planes.lo.data() + first * dim,
                          rows * dim, values.data());
      visit(MatrixView(values.data(), rows, dim));
    }
  }

  void visit_lists(std::size_t first, std::size_t last, const RowVisitor& visit) const {
    std::uint64_t done = offsets_[first];
    const RowVisitor report = [&](std::span<const idx_t> ids, MatrixView rows) {
      visit(ids, rows);
      done += rows.rows;
      if (progress_) progress_("reading", done, offsets_.back());
    };
    Batch batch(batch_rows_, parameters_.dim, report);
    for (std::size_t l = first; l < last; ++l) {
      for_parts(l, [&](const format::SegmentView& segment, std::uint64_t begin, std::uint64_t end) {
        batch.add(segment, begin, end);
      });
    }
    batch.flush();
  }

  void require_list(std::size_t list) const {
    if (list < parameters_.nlist) return;
    throw Error(ErrorKind::misuse,
                fmt::format("{}: expected a list of 0 to {}, found {}", path_, parameters_.nlist - 1, list));
  }

  void visit_list_ids(std::size_t list, const IdVisitor& visit) const {
    for_parts(list, [&](const format::SegmentView& segment, std::uint64_t begin, std::uint64_t end) {
      visit(segment.ids.subspan(begin, end - begin));
    });
  }

  std::uint64_t reconstruct(std::span<const idx_t> ids, const RowVisitor& visit, MissingIds missing) const {
    const std::vector<std::uint64_t> places = find(ids);
    const auto absent = static_cast<std::uint64_t>(std::count(places.begin(), places.end(), detail::IdTable::no_place));
    if (absent > 0 && missing == MissingIds::refuse) {
      const auto first = std::find(places.begin(), places.end(), detail::IdTable::no_place) - places.begin();
      const std::string others = absent == 1 ? "" : fmt::format(" ({} of the {} ids are missing)", absent, ids.size());
      throw Error(ErrorKind::failed, fmt::format("{}: expected a row with id {}, found none{}; ask for ids that it "
                                                 "holds, or for missing ones to be skipped",
                                                 path_, ids[static_cast<std::size_t>(first)], others));
    }
    std::uint64_t done = 0;
    Batch batch(batch_rows_, parameters_.dim, visit);
    for (const std::uint64_t place : places) {
      if (place == detail::IdTable::no_place) continue;
      const auto segment =
          static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), place) - starts_.begin()) - 1;
      batch.add(snapshot_->segments()[segment], place - starts_[segment], place - starts_[segment] + 1);
      if (progress_ && ++done % batch_rows_ == 0) progress_("reading", done, ids.size());
    }
    batch.flush();
    return absent;
  }

 private:
  template <class Visit>
  void for_parts(std::size_t list, const Visit& visit) const {
    for (const format::SegmentView& segment : snapshot_->segments()) {
      detail::for_rows_outside(segment.removed, segment.offsets[list], segment.offsets[list + 1],
                               [&](std::uint64_t begin, std::uint64_t end) { visit(segment, begin, end); });
    }
  }

  /// The place of each id among all stored rows.
  std::vector<std::uint64_t> find(std::span<const idx_t> ids) const {
    detail::IdTable table(ids);
    std::uint64_t found = 0;
    for (std::size_t s = 0; s < starts_.size(); ++s) {
      const format::SegmentView& segment = snapshot_->segments()[s];
      detail::for_rows_outside(segment.removed, 0, segment.rows, [&](std::uint64_t begin, std::uint64_t end) {
        for (std::uint64_t row = begin; row < end && found < table.distinct(); ++row) {
          found += table.place(segment.ids[row], starts_[s] + row);
          if (progress_ && row % 65536 == 0) progress_("looking", starts_[s] + row, snapshot_->rows());
        }
      });
    }
    std::vector<std::uint64_t> places(ids.size());
    std::transform(ids.begin(), ids.end(), places.begin(), [&](idx_t id) { return table.place_of(id); });
    return places;
  }

  std::string path_;
  Progress progress_;
  std::shared_ptr<const format::Snapshot> snapshot_;
  const format::Parameters& parameters_;
  std::size_t batch_rows_ = 1;
  std::vector<std::uint64_t> starts_;  ///< Of each segment among all stored rows, the removed ones counted in.
  std::vector<std::uint64_t> offsets_;
};

StoredIndex::StoredIndex(const std::string& path, const RunOptions& options)
    : impl_(std::make_unique<const Impl>(path, options)) {}
StoredIndex::~StoredIndex() = default;

bool StoredIndex::flat() const noexcept { return impl_->parameters().kind == format::IndexKind::flat; }
Metric StoredIndex::metric() const noexcept { return impl_->parameters().metric; }
std::size_t StoredIndex::dim() const noexcept { return impl_->parameters().dim; }
std::size_t StoredIndex::nlist() const noexcept { return impl_->parameters().nlist; }
std::uint64_t StoredIndex::rows() const noexcept { return impl_->offsets().back(); }
const std::vector<std::uint64_t>& StoredIndex::offsets() const noexcept { return impl_->offsets(); }
void StoredIndex::visit_centroids(const CentroidVisitor& visit) const { impl_->visit_centroids(visit); }
void StoredIndex::visit_rows(const RowVisitor& visit) const { impl_->visit_lists(0, nlist(), visit); }
void StoredIndex::visit_list(std::size_t list, const RowVisitor& visit) const {
  impl_->require_list(list);
  impl_->visit_lists(list, list + 1, visit);
}
void StoredIndex::visit_list_ids(std::size_t list, const IdVisitor& visit) const {
  impl_->require_list(list);
  impl_->visit_list_ids(list, visit);
}
std::uint64_t StoredIndex::reconstruct(std::span<const idx_t> ids, const RowVisitor& visit, MissingIds missing) const {
  return impl_->reconstruct(ids, visit, missing);
}

}  // namespace ivf

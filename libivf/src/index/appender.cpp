// FileAppender: rows are collected until they fill the memory cap, then sorted into a segment that goes to the file.

#include <fmt/format.h>

#include <algorithm>

#include "backends/registry.h"
#include "index/checks.h"
#include "index/impl.h"
#include "ivf/format/row_bits.hpp"

namespace ivf {

class FileAppender::Impl {
 public:
  Impl(const std::string& path, const RunOptions& options, const Placement& placement)
      : path_(path),
        options_(options),
        backend_(detail::open_backend(placement)),
        resources_(detail::Resources::of(options)),
        writer_(format::Writer::append(path, resources_.threads)) {
    const format::Parameters& parameters = writer_->parameters();
    detail::check_stored_parameters(path, parameters);
    dim_ = parameters.dim;
    metric_ = parameters.metric;
    // The writer's lock is held: what is read here stays the newest generation until commit().
    snapshot_ = format::Snapshot::open(path, resources_.threads);
    newest_ = snapshot_;
    removed_rows_ = snapshot_->removed();
    if (parameters.kind == format::IndexKind::ivf) {
      centroids_ = std::make_unique<const detail::CentroidSet>(snapshot_->centroids(), parameters.nlist, dim_,
                                                               detail::is_inner_product(metric_));
    }
    // A row's share of the workspace: the caller's batch, the collected copy, the segment's planes, ids and norms, and
    // the list, value and position of the assignment. It does not depend on the number of threads, and neither does the
    // file.
    const std::uint64_t row_bytes = dim_ * (3 * sizeof(float)) + 3 * sizeof(idx_t) + 4 * sizeof(float);
    batch_rows_ = std::clamp<std::uint64_t>(resources_.max_memory / row_bytes, 1, detail::max_segment_rows);
  }

  std::size_t dim() const noexcept { return dim_; }
  Metric metric() const noexcept { return metric_; }
  std::uint64_t size() const noexcept { return writer_->rows() + pending_rows() - removed_rows_; }
  std::size_t batch_rows() const noexcept { return batch_rows_; }

  void append(MatrixView rows, detail::IncomingIds ids) {
    check_usable();
    detail::check_matrix(rows, dim_, "rows", resources_.threads);
    detail::check_numbering(writer_->next_id() + pending_rows(), rows.rows);
    if (ids.numbered) {
      ids.first_id = static_cast<idx_t>(writer_->next_id() + pending_rows());
    } else {
      detail::check_ids(ids.given, rows.rows);
    }
    failed_ = true;  // Until all of it is in.
    if (replaces_) {
      for (std::size_t i = 0; i < rows.rows; ++i) appended_ids_.push_back(ids.get(i));
    }
    for (std::size_t done = 0; done < rows.rows;) {
      const std::size_t count = std::min(rows.rows - done, batch_rows_ - pending_rows());
      if (count == batch_rows_) {
        write({rows.slice(done, count), normalizes()}, ids.slice(done, count));
      } else {
        collect(rows.slice(done, count), ids.slice(done, count));
        if (pending_rows() == batch_rows_) flush();
      }
      done += count;
    }
    failed_ = false;
  }

  void replace_ids() noexcept { replaces_ = true; }

  std::uint64_t remove(const IdSet& ids) {
    check_usable();
    const auto& segments = committed_segments();
    auto sets = removed_;  // So that what throws has no effect.
    sets.resize(segments.size());
    std::uint64_t count = 0;
    for (std::size_t s = 0; s < segments.size(); ++s) {
      format::SegmentView segment = segments[s];
      if (!sets[s].empty()) segment.removed = sets[s];
      auto bits = detail::hidden_rows(segment, ids, true, resources_.threads);
      const std::uint64_t more = format::count_rows(bits) - format::count_rows(segment.removed);
      if (more == 0) continue;
      sets[s] = std::move(bits);
      count += more;
    }
    removed_ = std::move(sets);
    removed_rows_ += count;
    return count;
  }

  void commit() {
    check_usable();
    if (replaces_) remove_replaced();
    failed_ = true;
    flush();
    for (std::size_t s = 0; s < removed_.size(); ++s) {
      if (!removed_[s].empty()) writer_->set_removed(s, removed_[s]);
    }
    writer_->commit();
    removed_.clear();
    appended_ids_.clear();
    failed_ = false;
  }

 private:
  /// Of the newest commit, which may be one of this appender.
  const std::vector<format::SegmentView>& committed_segments() {
    if (newest_->generation() != writer_->generation()) newest_ = format::Snapshot::open(path_, resources_.threads);
    return newest_->segments();
  }

  void remove_replaced() {
    std::sort(appended_ids_.begin(), appended_ids_.end());
    const auto twice = std::adjacent_find(appended_ids_.begin(), appended_ids_.end());
    if (twice != appended_ids_.end()) {
      throw Error(ErrorKind::misuse,
                  fmt::format("{}: expected each id once among the rows that replace others, found {} twice; commit "
                              "between them, or leave the older one out",
                              path_, *twice));
    }
    remove(IdSet(appended_ids_));
  }

  bool normalizes() const noexcept { return metric_ == Metric::cosine; }
  std::size_t pending_rows() const noexcept { return pending_ids_.size(); }

  void check_usable() const {
    if (!failed_) return;
    throw Error(
        ErrorKind::failed,
        fmt::format("{}: an earlier append or commit failed or was interrupted, and its rows are not complete; the "
                    "file is as it was at the last commit, open it again to append",
                    path_));
  }

  void collect(MatrixView rows, const detail::IncomingIds& ids) {
    // Grows by doubling, or every batch would move all that came before, but not past what a segment takes.
    const std::size_t wanted = pending_rows() + rows.rows;
    if (wanted * dim_ > pending_.capacity())
      pending_.reserve(std::max(wanted, std::min(batch_rows_, 2 * pending_rows())) * dim_);
    for (std::size_t i = 0; i < rows.rows; ++i) {
      pending_.insert(pending_.end(), rows.row(i), rows.row(i) + dim_);
      pending_ids_.push_back(ids.get(i));
    }
  }

  void flush() {
    if (pending_rows() == 0) return;
    write({MatrixView(pending_.data(), pending_rows(), dim_), normalizes()}, {pending_ids_, 0, false});
    pending_.clear();
    pending_ids_.clear();
  }

  void write(const detail::IncomingRows& incoming, const detail::IncomingIds& ids) {
    const auto segment =
        detail::build_segment(*backend_, centroids_.get(), incoming, ids, resources_, options_.progress);
    writer_->write_segment(segment->view());
  }

  std::string path_;
  RunOptions options_;
  std::shared_ptr<detail::Backend> backend_;
  detail::Resources resources_;
  std::unique_ptr<format::Writer> writer_;
  std::shared_ptr<const format::Snapshot> snapshot_;  ///< What the centroids lie in.
  std::shared_ptr<const format::Snapshot> newest_;    ///< The last commit, once it has been needed.
  std::unique_ptr<const detail::CentroidSet> centroids_;
  std::size_t dim_ = 0;
  Metric metric_ = Metric::l2;
  std::size_t batch_rows_ = 1;
  std::vector<float> pending_;
  std::vector<idx_t> pending_ids_;
  std::vector<detail::RowBits> removed_;  ///< Of committed segments, as the next commit leaves them; empty: no change.
  std::uint64_t removed_rows_ = 0;        ///< In all segments, with those that are pending.
  bool replaces_ = false;
  std::vector<idx_t> appended_ids_;  ///< Since the last commit, when they replace others.
  bool failed_ = false;
};

FileAppender::FileAppender(const std::string& path, const RunOptions& options, const Placement& placement)
    : impl_(std::make_unique<Impl>(path, options, placement)) {}
FileAppender::~FileAppender() = default;
std::size_t FileAppender::dim() const noexcept { return impl_->dim(); }
Metric FileAppender::metric() const noexcept { return impl_->metric(); }
std::uint64_t FileAppender::size() const noexcept { return impl_->size(); }
std::size_t FileAppender::batch_rows() const noexcept { return impl_->batch_rows(); }
void FileAppender::append(MatrixView rows) { impl_->append(rows, {}); }
void FileAppender::append(MatrixView rows, std::span<const idx_t> ids) { impl_->append(rows, {ids, 0, false}); }
void FileAppender::replace_ids() { impl_->replace_ids(); }
std::uint64_t FileAppender::remove(const IdSet& ids) { return impl_->remove(ids); }
void FileAppender::commit() { impl_->commit(); }

}  // namespace ivf

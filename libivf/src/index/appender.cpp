// FileAppender: rows are collected until they fill the memory cap, then sorted into a segment that goes to the file.

#include <fmt/format.h>

#include <algorithm>

#include "backends/registry.h"
#include "index/checks.h"
#include "index/impl.h"

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
    if (parameters.kind == format::IndexKind::ivf) {
      // The writer's lock is held: what is read here stays the newest generation.
      snapshot_ = format::Snapshot::open(path, resources_.threads);
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
  std::uint64_t size() const noexcept { return writer_->rows() + pending_rows(); }
  std::size_t batch_rows() const noexcept { return batch_rows_; }

  void append(MatrixView rows, detail::IncomingIds ids) {
    check_usable();
    detail::check_matrix(rows, dim_, "rows", resources_.threads);
    if (ids.numbered) {
      ids.first_id = static_cast<idx_t>(size());
    } else {
      detail::check_ids(ids.given, rows.rows);
    }
    failed_ = true;  // Until all of it is in.
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

  void commit() {
    check_usable();
    failed_ = true;
    flush();
    writer_->commit();
    failed_ = false;
  }

 private:
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
  std::shared_ptr<const format::Snapshot> snapshot_;
  std::unique_ptr<const detail::CentroidSet> centroids_;
  std::size_t dim_ = 0;
  Metric metric_ = Metric::l2;
  std::size_t batch_rows_ = 1;
  std::vector<float> pending_;
  std::vector<idx_t> pending_ids_;
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
void FileAppender::commit() { impl_->commit(); }

}  // namespace ivf

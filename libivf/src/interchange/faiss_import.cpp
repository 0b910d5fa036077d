// Reading an index of faiss, and making one of ours of it.

#include <algorithm>
#include <cmath>

#include "backends/registry.h"
#include "index/segment.h"
#include "interchange/faiss_layout.h"
#include "ivf/interchange.hpp"
#include "rows.h"

namespace ivf {
namespace {

constexpr std::size_t piece_bytes = std::size_t{4} << 20;
// Of a row's squared norm from 1: what `verify` grants a normalised row.
constexpr float unit_tolerance = 1e-6f;

Metric chosen_metric(const std::string& path, const detail::FaissLayout& layout, std::optional<Metric> wanted) {
  const Metric metric = wanted.value_or(layout.metric);
  if (metric == layout.metric || (metric == Metric::cosine && layout.metric == Metric::ip)) return metric;
  throw Error(ErrorKind::misuse,
              fmt::format("{}: expected {} as the metric of the index, found another; leave the metric to the file",
                          path, layout.metric == Metric::l2 ? "l2, by which it compares," : "ip or cosine"));
}

/// The rows of the file, list after list.
class RowReader {
 public:
  RowReader(const detail::SizedFile& file, const detail::FaissLayout& layout) : file_(file), layout_(layout) {}

  /// What was read: rows, their ids, and the list of each.
  struct Batch {
    std::vector<float> values;
    std::vector<idx_t> ids;
    std::vector<std::uint32_t> lists;
    std::size_t rows = 0;
  };

  /// Reads up to `most` rows. False at the end. `report(rows)` is called between pieces with the rows read so far.
  template <class Report>
  bool next(Batch& batch, std::size_t most, const Report& report) {
    const std::size_t dim = layout_.dim;
    const std::size_t piece = std::max<std::size_t>(1, piece_bytes / (dim * sizeof(float)));
    batch.rows = std::min<std::uint64_t>(most, layout_.rows - done_);
    batch.values.resize(batch.rows * dim);
    batch.ids.resize(batch.rows);
    batch.lists.resize(batch.rows);
    for (std::size_t at = 0; at < batch.rows;) {
      while (row_ == layout_.list_sizes[list_]) next_list();
      const std::size_t count = std::min<std::uint64_t>({batch.rows - at, layout_.list_sizes[list_] - row_, piece});
      read_rows(batch.values.data() + at * dim, count);
      read_ids(batch.ids.data() + at, count);
      std::fill_n(batch.lists.begin() + static_cast<std::ptrdiff_t>(at), count, static_cast<std::uint32_t>(list_));
      row_ += count;
      at += count;
      done_ += count;
      report(done_);
    }
    return batch.rows > 0;
  }

 private:
  std::uint64_t row_bytes() const noexcept { return layout_.dim * sizeof(float); }

  void next_list() {
    list_start_ += layout_.list_sizes[list_] * (row_bytes() + sizeof(idx_t));
    row_ = 0;
    ++list_;
  }

  [[noreturn]] void refuse(std::size_t row, const std::string& problem) const {
    const std::uint64_t place = row_ + row;
    const std::string where =
        layout_.flat ? fmt::format("row {}", place) : fmt::format("list {}, row {}", list_, place);
    throw Error(ErrorKind::corrupt, fmt::format("{}: {}: {}", file_.path(), where, problem));
  }

  void read_rows(float* values, std::size_t count) const {
    const std::size_t dim = layout_.dim;
    const std::uint64_t start = layout_.flat ? layout_.lists : layout_.lists + list_start_;
    file_.read(start + row_ * row_bytes(), values, count * row_bytes());
    const std::size_t bad = detail::first_nonfinite(values, count * dim);
    if (bad == count * dim) return;
    refuse(bad / dim, fmt::format("expected finite values, found {} in column {}; remove or replace such values",
                                  values[bad], bad % dim));
  }

  void read_ids(idx_t* ids, std::size_t count) const {
    if (!layout_.has_ids) {
      for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<idx_t>(row_ + i);
      return;
    }
    const std::uint64_t start =
        layout_.flat ? layout_.id_map : layout_.lists + list_start_ + layout_.list_sizes[list_] * row_bytes();
    file_.read(start + row_ * sizeof(idx_t), ids, count * sizeof(idx_t));
    const auto missing = std::find(ids, ids + count, idx_t{-1});
    if (missing == ids + count) return;
    refuse(static_cast<std::size_t>(missing - ids),
           "expected an id other than -1, which marks missing results; give the row another id");
  }

  const detail::SizedFile& file_;
  const detail::FaissLayout& layout_;
  std::size_t list_ = 0;
  std::uint64_t list_start_ = 0;  ///< Bytes of the lists before.
  std::uint64_t row_ = 0;         ///< In the list.
  std::uint64_t done_ = 0;
};

class FaissImport {
 public:
  FaissImport(const std::string& path, const ImportOptions& options)
      : options_(options),
        resources_(detail::Resources::of(options)),
        file_(path),
        layout_(detail::read_faiss_layout(file_)),
        metric_(chosen_metric(path, layout_, options.metric)),
        backend_(detail::open_backend(options.placement)) {}

  ImportReport write(const std::string& index) {
    if (!layout_.flat) read_centroids();
    format::Writer::Options writer_options;
    writer_options.compress = options_.compress;
    writer_options.threads = resources_.threads;
    const auto writer = format::Writer::create(
        index, parameters(), centroids_ ? centroids_->planes() : format::Planes{}, writer_options, options_.replace);
    ImportReport report{{layout_.type, metric_, layout_.dim, parameters().nlist, layout_.rows}};
    report.other_quantizer = layout_.quantizer_metric != layout_.metric;
    RowReader reader(file_, layout_);
    RowReader::Batch batch;
    const auto progress = [&](std::uint64_t rows) {
      if (options_.progress) options_.progress("reading", rows, layout_.rows);
    };
    while (reader.next(batch, batch_rows(), progress)) {
      if (metric_ == Metric::cosine) report.normalized += normalize(batch);
      report.moved += write_segment(*writer, batch);
    }
    writer->commit();
    return report;
  }

 private:
  format::Parameters parameters() const {
    format::Parameters parameters;
    parameters.kind = layout_.flat ? format::IndexKind::flat : format::IndexKind::ivf;
    parameters.metric = metric_;
    parameters.dim = static_cast<std::uint32_t>(layout_.dim);
    parameters.nlist = layout_.flat ? 1 : layout_.list_sizes.size();
    parameters.metadata = layout_.flat ? "{}" : R"({"centroids":"given","from":"faiss"})";
    return parameters;
  }

  void read_centroids() {
    const std::size_t nlist = layout_.list_sizes.size(), dim = layout_.dim;
    std::vector<float> values(nlist * dim);
    file_.read(layout_.centroids, values.data(), values.size() * sizeof(float));
    const std::size_t bad = detail::first_nonfinite(values.data(), values.size());
    if (bad != values.size()) {
      throw Error(ErrorKind::corrupt,
                  fmt::format("{}: centroid {}: expected finite values, found {} in column {}; train it again",
                              file_.path(), bad / dim, values[bad], bad % dim));
    }
    centroids_ = std::make_unique<const detail::CentroidSet>(MatrixView(values.data(), nlist, dim),
                                                             metric_ != Metric::l2, resources_.threads);
  }

  /// A row's share of the workspace: its values as read and in planes, its id as read, numbered and stored, its list in
  /// the file and assigned, the value and position of the assignment, and its norm.
  std::size_t batch_rows() const {
    const std::uint64_t row_bytes = layout_.dim * 2 * sizeof(float) + 3 * sizeof(idx_t) + 5 * sizeof(float);
    return static_cast<std::size_t>(
        std::clamp<std::uint64_t>(resources_.max_memory / row_bytes, 1, detail::max_segment_rows));
  }

  /// Returns how many rows were not of unit length.
  std::uint64_t normalize(RowReader::Batch& batch) const {
    const std::size_t dim = layout_.dim;
    std::vector<float> norms(batch.rows), copy(dim);
    detail::squared_norms(MatrixView(batch.values.data(), batch.rows, dim), norms.data());
    std::uint64_t normalized = 0;
    for (std::size_t i = 0; i < batch.rows; ++i) {
      float* row = batch.values.data() + i * dim;
      if (norms[i] == 0 || std::fabs(norms[i] - 1) < unit_tolerance) continue;
      detail::normalize_row(row, dim, copy.data());
      std::copy(copy.begin(), copy.end(), row);
      ++normalized;
    }
    return normalized;
  }

  /// Returns how many rows went to another list than the file's.
  std::uint64_t write_segment(format::Writer& writer, const RowReader::Batch& batch) const {
    // The rows are numbered while they are sorted: the numbers say then which row went where.
    const auto segment =
        detail::build_segment(*backend_, centroids_.get(), {MatrixView(batch.values.data(), batch.rows, layout_.dim)},
                              {}, resources_, options_.progress);
    format::SegmentView view = segment->view();
    std::vector<idx_t> ids(batch.rows);
    std::uint64_t moved = 0;
    for (std::size_t l = 0; l + 1 < view.offsets.size(); ++l) {
      for (std::uint64_t row = view.offsets[l]; row < view.offsets[l + 1]; ++row) {
        const auto source = static_cast<std::size_t>(view.ids[row]);
        ids[row] = batch.ids[source];
        moved += batch.lists[source] != l;
      }
    }
    view.ids = ids;
    writer.write_segment(view);
    return moved;
  }

  const ImportOptions& options_;
  detail::Resources resources_;
  detail::SizedFile file_;
  detail::FaissLayout layout_;
  Metric metric_;
  std::shared_ptr<detail::Backend> backend_;
  std::unique_ptr<const detail::CentroidSet> centroids_;
};

}  // namespace

ImportReport import_faiss(const std::string& path, const std::string& index, const ImportOptions& options) {
  return FaissImport(path, options).write(index);
}

}  // namespace ivf

// Merging: the rows of several indexes as one index.

#include <fmt/format.h>

#include <algorithm>

#include "backends/registry.h"
#include "index/segment.h"
#include "ivf/error.hpp"
#include "ivf/maintenance.hpp"
#include "kmeans/kmeans.h"
#include "maintenance/merge_ids.h"
#include "maintenance/segment_writer.h"
#include "maintenance/source.h"

namespace ivf {
namespace {

const char* name_of(Metric metric) noexcept {
  return metric == Metric::l2 ? "l2" : metric == Metric::ip ? "ip" : "cosine";
}

bool same_values(std::span<const std::uint16_t> a, std::span<const std::uint16_t> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

/// Whether rows of the one are in the right lists of the other.
bool same_lists(const detail::SourceIndex& a, const detail::SourceIndex& b) {
  const format::Planes &x = a.snapshot->centroids(), &y = b.snapshot->centroids();
  return a.flat() == b.flat() && a.parameters().nlist == b.parameters().nlist && same_values(x.hi, y.hi) &&
         same_values(x.lo, y.lo);
}

class Merge {
 public:
  Merge(const std::string& out, std::span<const std::string> paths, const MergeOptions& options)
      : out_(out),
        options_(options),
        resources_(detail::Resources::of(options)),
        backend_(detail::open_backend(options.placement)),
        lock_(detail::lock_output(out, options)) {
    if (paths.empty()) throw Error(ErrorKind::misuse, "expected at least one index to merge, found none");
    for (const std::string& path : paths) {
      sources_.emplace_back(path, out, resources_.threads);
      require_alike(sources_.front(), sources_.back());
      report_.segments += sources_.back().snapshot->segments().size();
      report_.dropped += sources_.back().snapshot->removed();
      report_.bytes_before += sources_.back().snapshot->file_bytes();
    }
  }

  MergeReport run() {
    report_.id_offsets.resize(sources_.size());
    if (options_.ids == MergeIds::shift) {
      report_.id_offsets = detail::shifted_ids(sources_);
      next_shifted_ = static_cast<std::uint64_t>(report_.id_offsets.back());
      report_.id_offsets.pop_back();
    }
    if (options_.ids == MergeIds::unique) detail::require_unique_ids(sources_, out_, resources_, options_.progress);

    format::Parameters parameters = sources_.front().parameters();
    centroids_ = options_.retrain ? train(parameters) : sources_.front().centroids();
    const auto writer =
        detail::open_output(out_, std::move(lock_), parameters, centroids_ ? centroids_->planes() : format::Planes{},
                            sources_.front().writer_options(options_, resources_));
    for (std::size_t s = 0; s < sources_.size();) {
      const std::size_t end = end_of_copied(s);
      if (end > s) {
        copy(*writer, s, end);
        s = end;
      } else {
        reassign(*writer, s++);
      }
    }
    writer->set_next_id(next_id(*writer));
    report_.rows = writer->rows();
    writer->commit();
    report_.bytes_after = writer->committed_bytes();
    return std::move(report_);
  }

 private:
  static void require_alike(const detail::SourceIndex& first, const detail::SourceIndex& other) {
    const format::Parameters &a = first.parameters(), &b = other.parameters();
    if (a.metric == b.metric && a.dim == b.dim) return;
    throw Error(ErrorKind::misuse,
                fmt::format("{}: expected {} dimensions and the metric {}, as {} has, found {} and {}; merge indexes "
                            "of one kind of vectors",
                            other.path, a.dim, name_of(a.metric), first.path, b.dim, name_of(b.metric)));
  }

  /// The source behind those from `begin` on whose rows are copied as they are.
  std::size_t end_of_copied(std::size_t begin) const {
    if (options_.retrain) return begin;
    while (begin < sources_.size() && same_lists(sources_.front(), sources_[begin])) ++begin;
    return begin;
  }

  void copy(format::Writer& writer, std::size_t begin, std::size_t end) const {
    std::vector<detail::RowPart> parts;
    for (std::size_t s = begin; s < end; ++s) {
      for (const detail::RowPart& part : sources_[s].parts(report_.id_offsets[s])) parts.push_back(part);
    }
    const detail::MergedRows rows(std::move(parts), writer.parameters().dim, writer.parameters().nlist);
    detail::write_rows(writer, rows, centroids_.get(), sources_[begin].path, resources_, options_.progress);
  }

  detail::MergedRows rows_of(std::size_t source) const {
    const format::Parameters& parameters = sources_[source].parameters();
    return {sources_[source].parts(report_.id_offsets[source]), parameters.dim, parameters.nlist};
  }

  void reassign(format::Writer& writer, std::size_t source) {
    const detail::MergedRows rows = rows_of(source);
    const std::size_t dim = rows.dim();
    // A row's share of the workspace: its values and planes, its id twice, and its norm, list, value and position.
    const std::uint64_t row_bytes = dim * 2 * sizeof(float) + 2 * sizeof(idx_t) + 4 * sizeof(float);
    const auto batch = static_cast<std::size_t>(
        std::clamp<std::uint64_t>(resources_.max_memory / row_bytes, 1, detail::max_segment_rows));
    std::vector<float> values;
    std::vector<idx_t> ids;
    for (std::uint64_t first = 0; first < rows.rows(); first += batch) {
      const std::size_t count = std::min<std::uint64_t>(batch, rows.rows() - first);
      values.resize(count * dim);
      ids.resize(count);
      rows.values(first, count, values.data());
      rows.ids(first, ids);
      // Rows of a cosine index are normalised already, and keep their bits.
      const auto segment = detail::build_segment(*backend_, centroids_.get(), {MatrixView(values.data(), count, dim)},
                                                 {ids, 0, false}, resources_, options_.progress);
      writer.write_segment(segment->view());
    }
    report_.reassigned += rows.rows();
  }

  /// Learns centroids from a sample of all rows.
  std::unique_ptr<const detail::CentroidSet> train(format::Parameters& parameters) {
    const Retraining& retraining = *options_.retrain;
    const std::size_t dim = parameters.dim;
    std::vector<detail::MergedRows> rows;
    std::vector<std::uint64_t> starts;
    std::uint64_t total = 0;
    for (std::size_t s = 0; s < sources_.size(); ++s) {
      rows.push_back(rows_of(s));
      starts.push_back(total);
      total += rows.back().rows();
    }
    const std::uint64_t count = std::min(retraining.sample, total);
    if (count > resources_.max_memory / (dim * sizeof(float))) {
      throw Error(ErrorKind::misuse,
                  fmt::format("expected a sample that fits {} bytes of memory, found {} rows of {} dimensions; allow "
                              "more memory or draw fewer rows",
                              resources_.max_memory, count, dim));
    }
    auto chosen = detail::random_rows(total, count, retraining.seed);
    std::sort(chosen.begin(), chosen.end());
    std::vector<float> sample(count * dim);
    for (std::size_t i = 0; i < count; ++i) {
      if (options_.progress && i % 65536 == 0) options_.progress("reading", i, count);
      const auto s =
          static_cast<std::size_t>(std::upper_bound(starts.begin(), starts.end(), chosen[i]) - starts.begin()) - 1;
      rows[s].values(chosen[i] - starts[s], 1, sample.data() + i * dim);
    }
    IndexIVFFlat index(dim, retraining.nlist, parameters.metric);
    index.to(options_.placement);
    TrainParams params;
    static_cast<RunOptions&>(params) = options_;
    params.seed = retraining.seed;
    params.iterations = retraining.iterations;
    params.init = retraining.init;
    report_.training = index.train(MatrixView(sample.data(), count, dim), params);
    const IndexInfo info = index.info();
    parameters.kind = format::IndexKind::ivf;
    parameters.nlist = retraining.nlist;
    parameters.seed = info.seed;
    parameters.metadata = info.metadata;
    const std::vector<float> centroids = index.centroids();
    return std::make_unique<const detail::CentroidSet>(MatrixView(centroids.data(), retraining.nlist, dim),
                                                       parameters.metric != Metric::l2, resources_.threads);
  }

  /// Behind the rows, and the numbering of every index.
  std::uint64_t next_id(const format::Writer& writer) const {
    std::uint64_t next = std::max(writer.rows(), next_shifted_);
    for (const detail::SourceIndex& source : sources_) next = std::max(next, source.snapshot->next_id());
    return next;
  }

  const std::string& out_;
  const MergeOptions& options_;
  detail::Resources resources_;
  std::shared_ptr<detail::Backend> backend_;
  std::unique_ptr<format::WriteLock> lock_;  ///< Until the output is open.
  std::vector<detail::SourceIndex> sources_;
  std::unique_ptr<const detail::CentroidSet> centroids_;
  std::uint64_t next_shifted_ = 0;  ///< With MergeIds::shift: behind all ids.
  MergeReport report_;
};

}  // namespace

MergeReport merge_indexes(const std::string& out, std::span<const std::string> paths, const MergeOptions& options) {
  return Merge(out, paths, options).run();
}

}  // namespace ivf

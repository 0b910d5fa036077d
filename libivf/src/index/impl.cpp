#include "index/impl.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "backends/registry.h"
#include "index/checks.h"
#include "ivf/format/row_bits.hpp"
#include "kmeans/kmeans.h"
#include "rows.h"

namespace ivf {
namespace {

/// Segments up to this size are worth merging whatever the index holds; beyond it, up to an eighth of the index. Many
/// small additions thus leave a number of segments that grows with the logarithm of their count, and large ones are not
/// copied.
constexpr std::uint64_t always_merged_bytes = std::uint64_t{64} << 20;

/// JSON has no infinities.
std::string json_number(double value) { return std::isfinite(value) ? fmt::format("{}", value) : "null"; }

std::string describe_training(const TrainReport& report, const TrainParams& params) {
  std::string objective;
  for (const double value : report.objective) {
    if (!objective.empty()) objective += ",";
    objective += json_number(value);
  }
  return fmt::format(
      R"({{"centroids":"k-means","init":"{}","iterations":{},"seed":{},"train_rows":{},"objective":[{}],"imbalance":{},"splits":{}}})",
      params.init == KMeansInit::random ? "random" : "k-means++", params.iterations, params.seed, report.rows,
      objective, json_number(report.imbalance), report.splits);
}

/// What is wrong with these sizes, if anything.
std::optional<std::string> beyond_limits(std::size_t dim, std::uint64_t nlist) {
  if (dim == 0 || dim > detail::max_dim) {
    return fmt::format("expected a dimension of 1 to {}, found {}", detail::max_dim, dim);
  }
  if (nlist == 0 || nlist > detail::max_nlist) {
    return fmt::format("expected nlist of 1 to {}, found {}", detail::max_nlist, nlist);
  }
  return std::nullopt;
}

}  // namespace

namespace detail {

void check_stored_parameters(const std::string& path, const format::Parameters& parameters) {
  if (const auto problem = beyond_limits(parameters.dim, parameters.nlist)) {
    throw Error(ErrorKind::corrupt, fmt::format("{}: {}; restore the file from its source", path, *problem));
  }
}

void check_ids(std::span<const idx_t> ids, std::size_t rows) {
  if (ids.size() != rows) {
    throw Error(ErrorKind::misuse,
                fmt::format("expected one id for each of {} rows, found {} ids; pass equally many", rows, ids.size()));
  }
  const auto bad = std::find(ids.begin(), ids.end(), idx_t{-1});
  if (bad != ids.end()) {
    throw Error(
        ErrorKind::misuse,
        fmt::format("expected ids other than -1, found -1 for row {}; -1 marks missing results", bad - ids.begin()));
  }
}

void check_numbering(std::uint64_t next_id, std::uint64_t rows) {
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<idx_t>::max());
  if (rows <= most && next_id <= most - rows) return;
  throw Error(ErrorKind::misuse,
              fmt::format("expected room for {} more rows in the numbering, found that the next number is {}; start a "
                          "new index",
                          rows, next_id));
}

double imbalance_of(std::span<const std::uint64_t> list_sizes) noexcept {
  double rows = 0, squares = 0;
  for (const std::uint64_t size : list_sizes) {
    rows += static_cast<double>(size);
    squares += static_cast<double>(size) * static_cast<double>(size);
  }
  return rows > 0 ? static_cast<double>(list_sizes.size()) * squares / (rows * rows) : 1;
}

}  // namespace detail

IndexImpl::IndexImpl(format::IndexKind kind, Metric metric, std::size_t dim, std::size_t nlist) {
  parameters_.kind = kind;
  parameters_.metric = metric;
  if (const auto problem = beyond_limits(dim, nlist)) throw Error(ErrorKind::misuse, *problem);
  parameters_.dim = static_cast<std::uint32_t>(dim);
  parameters_.nlist = nlist;
  parameters_.metadata = "{}";
  use_segments({});
}

std::unique_ptr<IndexImpl> IndexImpl::load(const std::string& path, const RunOptions& options) {
  auto snapshot = format::Snapshot::open(path, detail::Resources::of(options).threads);
  const format::Parameters& parameters = snapshot->parameters();
  detail::check_stored_parameters(path, parameters);
  auto impl = std::make_unique<IndexImpl>(parameters.kind, parameters.metric, parameters.dim, parameters.nlist);
  impl->parameters_ = parameters;
  if (!impl->flat()) {
    impl->centroids_ = std::make_unique<const detail::CentroidSet>(
        snapshot->centroids(), parameters.nlist, parameters.dim, detail::is_inner_product(parameters.metric));
  }
  std::vector<Held> held;
  for (const format::SegmentView& view : snapshot->segments()) held.push_back({nullptr, view, nullptr});
  impl->use_segments(std::move(held));
  impl->next_id_ = snapshot->next_id();
  impl->snapshot_ = std::move(snapshot);
  return impl;
}

const detail::CentroidSet& IndexImpl::centroids() const {
  if (centroids_ == nullptr) {
    throw Error(ErrorKind::misuse,
                fmt::format("expected a trained index, found one of {} lists without centroids; train "
                            "it or set its centroids first",
                            parameters_.nlist));
  }
  return *centroids_;
}

IndexInfo IndexImpl::info() const {
  IndexInfo info;
  info.metric = parameters_.metric;
  info.dim = parameters_.dim;
  info.nlist = parameters_.nlist;
  info.flat = flat();
  info.trained = trained();
  info.rows = rows();
  info.removed = removed_;
  info.next_id = next_id_;
  info.segments = held_.size();
  info.seed = parameters_.seed;
  info.metadata = parameters_.metadata;
  info.list_sizes = detail::present_rows(segments(), info.nlist);
  info.imbalance = detail::imbalance_of(info.list_sizes);
  return info;
}

void IndexImpl::require_no_rows(const char* operation) const {
  if (rows() == 0) return;
  throw Error(ErrorKind::misuse,
              fmt::format("expected an index without rows to {}, found {} rows; reset it first", operation, rows()));
}

TrainReport IndexImpl::train(MatrixView rows, const TrainParams& params) {
  require_no_rows("train");
  const auto resources = detail::Resources::of(params);
  detail::check_matrix(rows, parameters_.dim, "training rows", resources.threads);
  auto result = detail::train_kmeans(backend(), parameters_.metric, rows, parameters_.nlist, params, resources);
  auto centroids = std::make_unique<const detail::CentroidSet>(
      MatrixView(result.centroids.data(), parameters_.nlist, parameters_.dim),
      detail::is_inner_product(parameters_.metric));
  std::string metadata = describe_training(result.report, params);
  use_segments({});  // Removed rows lie in lists of other centroids.
  centroids_ = std::move(centroids);
  residency_->centroids.reset();
  parameters_.metadata = std::move(metadata);
  parameters_.seed = params.seed;
  return std::move(result.report);
}

void IndexImpl::set_centroids(MatrixView values) {
  require_no_rows("set centroids");
  detail::check_matrix(values, parameters_.dim, "centroids", 1);
  if (values.rows != parameters_.nlist) {
    throw Error(ErrorKind::misuse,
                fmt::format("expected {} centroids (nlist), found {}", parameters_.nlist, values.rows));
  }
  std::string metadata = R"({"centroids":"given"})";
  auto centroids = std::make_unique<const detail::CentroidSet>(values, detail::is_inner_product(parameters_.metric));
  use_segments({});
  centroids_ = std::move(centroids);
  residency_->centroids.reset();
  parameters_.metadata = std::move(metadata);
  parameters_.seed = 0;
}

std::vector<idx_t> IndexImpl::assign(MatrixView rows, const RunOptions& options) const {
  const auto& centroids = this->centroids();
  const auto resources = detail::Resources::of(options);
  detail::check_matrix(rows, parameters_.dim, "rows", resources.threads);
  std::vector<std::int32_t> lists(rows.rows);
  std::vector<float> values(rows.rows);
  detail::assign_rows(backend(), centroids, {rows, parameters_.metric == Metric::cosine}, lists.data(), values.data(),
                      resources, options.progress);
  return {lists.begin(), lists.end()};
}

void IndexImpl::add(MatrixView rows, const detail::IncomingIds& ids, const RunOptions& options) {
  const detail::CentroidSet* centroids = flat() ? nullptr : &this->centroids();
  const auto resources = detail::Resources::of(options);
  detail::check_matrix(rows, parameters_.dim, "rows", resources.threads);
  if (!ids.numbered) detail::check_ids(ids.given, rows.rows);
  detail::check_numbering(next_id_, rows.rows);
  // Everything is built before anything is changed, so that an exception has no effect.
  std::vector<std::shared_ptr<const detail::OwnedSegment>> built;
  for (std::size_t first = 0; first < rows.rows; first += detail::max_segment_rows) {
    const std::size_t count = std::min(detail::max_segment_rows, rows.rows - first);
    built.push_back(detail::build_segment(backend(), centroids,
                                          {rows.slice(first, count), parameters_.metric == Metric::cosine},
                                          ids.slice(first, count), resources, options.progress));
  }
  auto held = held_;
  for (auto& segment : built) push_segment(held, std::move(segment), resources.threads);
  use_segments(std::move(held));
  next_id_ += rows.rows;
}

std::uint64_t IndexImpl::remove(const IdSet& ids, const RunOptions& options) {
  const unsigned threads = detail::Resources::of(options).threads;
  const std::uint64_t before = removed_;
  auto held = held_;
  for (Held& one : held) {
    auto bits = std::make_shared<const detail::RowBits>(detail::hidden_rows(one.view, ids, true, threads));
    if (format::count_rows(*bits) == format::count_rows(one.view.removed)) continue;
    one.view.removed = *bits;
    one.removed = std::move(bits);
  }
  use_segments(std::move(held));
  return removed_ - before;
}

void IndexImpl::push_segment(std::vector<Held>& held, std::shared_ptr<const detail::OwnedSegment> segment,
                             unsigned threads) const {
  std::uint64_t total = detail::segment_bytes(segment->view());
  for (const Held& other : held) total += detail::segment_bytes(other.view);
  const std::uint64_t limit = std::max(always_merged_bytes, total / 8);
  while (!held.empty() && held.back().owner != nullptr) {
    const format::SegmentView& last = held.back().view;
    const bool small = detail::segment_bytes(last) + detail::segment_bytes(segment->view()) <= limit;
    if (!small || last.rows > 2 * segment->rows || last.rows + segment->rows > detail::max_segment_rows) break;
    segment = detail::merge_segments(last, segment->view(), parameters_.dim, threads);
    held.pop_back();
  }
  if (segment->rows == 0) return;
  const auto view = segment->view();
  held.push_back({std::move(segment), view, nullptr});
}

void IndexImpl::use_segments(std::vector<Held> held) {
  detail::Corpus corpus;
  corpus.dim = parameters_.dim;
  corpus.inner_product = detail::is_inner_product(parameters_.metric);
  corpus.nlist = parameters_.nlist;
  std::uint64_t removed = 0;
  for (const Held& one : held) {
    corpus.segments.push_back(one.view);
    corpus.rows += one.view.rows;
    removed += format::count_rows(one.view.removed);
  }
  removed_ = removed;
  held_ = std::move(held);
  corpus_ = std::move(corpus);
  residency_->rows.reset();
  filter_cache_->rows.reset();
}

void IndexImpl::to(const Placement& placement) {
  if (backend_ != nullptr && placement == placement_) {  // Only what was added since is missing there.
    placed_rows();
    if (centroids_ != nullptr) placed_centroids();
    return;
  }
  auto backend = detail::open_backend(placement);
  auto residency = std::make_unique<Residency>();
  residency->rows = backend->load(corpus_);
  if (centroids_ != nullptr) residency->centroids = backend->load(centroids_->corpus());
  placement_ = placement;
  backend_ = std::move(backend);
  residency_ = std::move(residency);
}

detail::Corpus IndexImpl::placed(const detail::Corpus& corpus,
                                 std::shared_ptr<const detail::Resident>& resident) const {
  detail::Corpus result = corpus;
  const std::lock_guard lock(residency_->mutex);
  if (resident == nullptr) resident = backend().load(corpus);
  result.resident = resident;
  return result;
}

detail::Corpus IndexImpl::placed_rows() const { return placed(corpus_, residency_->rows); }

detail::Corpus IndexImpl::placed_centroids() const { return placed(centroids().corpus(), residency_->centroids); }

void IndexImpl::reset() noexcept {
  held_.clear();
  corpus_.segments.clear();
  corpus_.rows = 0;
  removed_ = 0;
  next_id_ = 0;
  residency_->rows.reset();
  filter_cache_->rows.reset();
}

void IndexImpl::save(const std::string& path, const SaveOptions& options) const {
  format::Writer::Options writer_options;
  writer_options.compress = options.compress;
  RunOptions run;
  run.threads = options.threads;
  writer_options.threads = detail::Resources::of(run).threads;
  const auto writer = format::Writer::create(path, parameters_, flat() ? format::Planes{} : centroids().planes(),
                                             writer_options, options.replace);
  for (const format::SegmentView& segment : segments()) writer->write_segment(segment);
  writer->set_next_id(next_id_);
  writer->commit();
}

}  // namespace ivf

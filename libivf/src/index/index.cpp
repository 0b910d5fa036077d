// The public classes: thin handles on IndexImpl.

#include <fmt/format.h>

#include <algorithm>

#include "index/checks.h"
#include "index/impl.h"
#include "ivf/format/row_bits.hpp"
#include "ivf/index.hpp"
#include "rows.h"

namespace ivf {

Index::Index(std::unique_ptr<IndexImpl> impl) noexcept : impl_(std::move(impl)) {}
Index::Index(Index&&) noexcept = default;
Index& Index::operator=(Index&&) noexcept = default;
Index::~Index() = default;

Metric Index::metric() const noexcept { return impl_->parameters().metric; }
std::size_t Index::dim() const noexcept { return impl_->parameters().dim; }
std::uint64_t Index::size() const noexcept { return impl_->rows(); }
bool Index::is_trained() const noexcept { return impl_->trained(); }
IndexInfo Index::info() const { return impl_->info(); }

void Index::to(const Placement& placement) { impl_->to(placement); }
const Placement& Index::placement() const noexcept { return impl_->placement(); }
DeviceInfo Index::device() const { return impl_->backend().device(); }
DevicePeak Index::measure_peak() const { return impl_->backend().measure_peak(); }

void Index::add(MatrixView rows, const RunOptions& options) {
  impl_->add(rows, {{}, static_cast<idx_t>(impl_->next_id()), true}, options);
}

void Index::add_with_ids(MatrixView rows, std::span<const idx_t> ids, const RunOptions& options) {
  impl_->add(rows, {ids, 0, false}, options);
}

std::uint64_t Index::remove_ids(const IdSet& ids, const RunOptions& options) { return impl_->remove(ids, options); }

SearchResult Index::search(MatrixView queries, const SearchParams& params) const {
  return impl_->search(queries, params, false);
}

std::unique_ptr<PlacedQueries> Index::place_queries(MatrixView queries, const SearchParams& params) const {
  return impl_->place_queries(queries, params);
}

RangeResult Index::range_search(MatrixView queries, float radius, const SearchParams& params) const {
  return impl_->range_search(queries, radius, params);
}

SearchResult Index::search_exact(MatrixView queries, const SearchParams& params) const {
  return impl_->search(queries, params, true);
}

void Index::reset() { impl_->reset(); }

void Index::save(const std::string& path, const SaveOptions& options) const { impl_->save(path, options); }

IndexFlat::IndexFlat(std::size_t dim, Metric metric)
    : Index(std::make_unique<IndexImpl>(format::IndexKind::flat, metric, dim, 1)) {}

IndexIVFFlat::IndexIVFFlat(std::size_t dim, std::size_t nlist, Metric metric)
    : Index(std::make_unique<IndexImpl>(format::IndexKind::ivf, metric, dim, nlist)) {}

TrainReport IndexIVFFlat::train(MatrixView rows, const TrainParams& params) { return impl_->train(rows, params); }
void IndexIVFFlat::set_centroids(MatrixView centroids) { impl_->set_centroids(centroids); }
std::vector<float> IndexIVFFlat::centroids() const { return impl_->centroids().values(); }

std::vector<idx_t> IndexIVFFlat::assign(MatrixView rows, const RunOptions& options) const {
  return impl_->assign(rows, options);
}

namespace {

void check_list(std::size_t list, std::size_t nlist) {
  if (list < nlist) return;
  throw Error(ErrorKind::misuse, fmt::format("expected a list of 0 to {}, found {}", nlist - 1, list));
}

}  // namespace

std::vector<idx_t> IndexIVFFlat::list_ids(std::size_t list) const {
  check_list(list, impl_->parameters().nlist);
  std::vector<idx_t> ids;
  for (const auto& segment : impl_->segments()) {
    for (std::uint64_t row = segment.offsets[list]; row < segment.offsets[list + 1]; ++row) {
      if (!format::has_row(segment.removed, row)) ids.push_back(segment.ids[row]);
    }
  }
  return ids;
}

std::vector<float> IndexIVFFlat::list_vectors(std::size_t list) const {
  check_list(list, impl_->parameters().nlist);
  const std::size_t dim = this->dim();
  std::vector<float> vectors;
  for (const auto& segment : impl_->segments()) {
    const auto& planes = segment.planes;
    for (std::uint64_t row = segment.offsets[list]; row < segment.offsets[list + 1]; ++row) {
      if (format::has_row(segment.removed, row)) continue;
      vectors.resize(vectors.size() + dim);
      detail::join_planes(planes.hi.data() + row * dim, planes.lo.empty() ? nullptr : planes.lo.data() + row * dim, dim,
                          vectors.data() + vectors.size() - dim);
    }
  }
  return vectors;
}

std::unique_ptr<Index> load_index(const std::string& path, const RunOptions& options) {
  auto impl = IndexImpl::load(path, options);
  if (impl->flat()) return std::unique_ptr<Index>(new IndexFlat(std::move(impl)));
  return std::unique_ptr<Index>(new IndexIVFFlat(std::move(impl)));
}

namespace {

/// Loads an index of the kind that the caller's type stands for.
template <class Expected>
Expected load_as(const std::string& path, const RunOptions& options, const char* expected, const char* other) {
  auto index = load_index(path, options);
  if (auto* typed = dynamic_cast<Expected*>(index.get())) return std::move(*typed);
  throw Error(ErrorKind::misuse,
              fmt::format("{}: expected {}, found {}; open it with load_index", path, expected, other));
}

}  // namespace

IndexFlat IndexFlat::load(const std::string& path, const RunOptions& options) {
  return load_as<IndexFlat>(path, options, "a flat index", "an inverted file");
}

IndexIVFFlat IndexIVFFlat::load(const std::string& path, const RunOptions& options) {
  return load_as<IndexIVFFlat>(path, options, "an inverted file", "a flat index");
}

void normalize_rows(float* rows, std::size_t n, std::size_t dim) {
  detail::check_matrix(MatrixView(rows, n, dim), dim, "rows", 1);
  for (std::size_t i = 0; i < n; ++i) detail::normalize_row(rows + i * dim, dim, rows + i * dim);
}

}  // namespace ivf

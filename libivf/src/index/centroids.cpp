#include "index/centroids.h"

#include <algorithm>

#include "parallel.h"

namespace ivf::detail {

CentroidSet::CentroidSet(MatrixView values, bool inner_product, unsigned threads)
    : owned_(OwnedPlanes::from(values, threads)) {
  describe(owned_.view(values.dim), values.rows, values.dim, inner_product, threads);
}

CentroidSet::CentroidSet(const format::Planes& planes, std::size_t nlist, std::size_t dim, bool inner_product) {
  describe(planes, nlist, dim, inner_product, 1);
}

void CentroidSet::describe(const format::Planes& planes, std::size_t nlist, std::size_t dim, bool inner_product,
                           unsigned threads) {
  offsets_ = {0, nlist};
  corpus_.dim = dim;
  corpus_.inner_product = inner_product;
  corpus_.nlist = 1;
  corpus_.rows = nlist;
  format::SegmentView segment;
  segment.rows = nlist;
  segment.offsets = offsets_;
  segment.planes = planes;
  corpus_.segments = {segment};
  if (!planes.lo.empty()) {
    std::vector<float> largest(threads);
    parallel_for(threads, nlist, 64, [&](std::size_t begin, std::size_t end, unsigned thread) {
      std::vector<float> row(dim);
      for (std::size_t i = begin; i < end; ++i) {
        get(i, row.data());
        largest[thread] = std::max(largest[thread], residual_bound(row.data(), 1, dim));
      }
    });
    residual_ = *std::max_element(largest.begin(), largest.end());
  }
  corpus_.segments[0].residuals = {&residual_, 1};
}

void CentroidSet::get(std::size_t list, float* values) const noexcept {
  const auto& p = planes();
  join_planes(p.hi.data() + list * dim(), p.lo.empty() ? nullptr : p.lo.data() + list * dim(), dim(), values);
}

std::vector<float> CentroidSet::values() const {
  std::vector<float> result(count() * dim());
  for (std::size_t i = 0; i < count(); ++i) get(i, result.data() + i * dim());
  return result;
}

void assign_rows(Backend& backend, const CentroidSet& centroids, const IncomingRows& incoming, std::int32_t* lists,
                 float* values, const Resources& resources, const Progress& progress) {
  const MatrixView rows = incoming.rows;
  // Large enough that threads and tiles are busy, small enough that a copy is a small part of the workspace.
  const std::size_t copy_limit = std::max<std::size_t>(1, resources.max_memory / 4 / (sizeof(float) * rows.dim));
  const std::size_t batch = std::min<std::size_t>({65536, incoming.normalize ? copy_limit : 65536, rows.rows});
  std::vector<float> copy(incoming.normalize ? batch * rows.dim : 0);
  Corpus placed = centroids.corpus();
  placed.resident = backend.load(placed);
  for (std::size_t first = 0; first < rows.rows; first += batch) {
    if (progress) progress("assign", first, rows.rows);
    const std::size_t count = std::min(batch, rows.rows - first);
    MatrixView part = rows.slice(first, count);
    if (incoming.normalize) {
      parallel_for(resources.threads, count, 256, [&](std::size_t begin, std::size_t end, unsigned) {
        for (std::size_t i = begin; i < end; ++i) normalize_row(part.row(i), rows.dim, copy.data() + i * rows.dim);
      });
      part = MatrixView(copy.data(), count, rows.dim);
    }
    backend.assign(placed, part, lists + first, values + first, resources.threads);
  }
  if (progress && rows.rows != 0) progress("assign", rows.rows, rows.rows);
}

}  // namespace ivf::detail

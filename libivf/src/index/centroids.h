#pragma once
/// \file
/// Centroids as a corpus of one list, which the coarse step and the assignment scan.

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "backends/backend.h"
#include "index/resources.h"
#include "rows.h"

namespace ivf::detail {

/// The centroids of an index or of a k-means iteration. Not movable: the corpus points into it.
class CentroidSet {
 public:
  /// Copies the values.
  CentroidSet(MatrixView values, bool inner_product, unsigned threads = 1);
  /// Uses planes that the caller keeps alive.
  CentroidSet(const format::Planes& planes, std::size_t nlist, std::size_t dim, bool inner_product);
  CentroidSet(const CentroidSet&) = delete;
  CentroidSet& operator=(const CentroidSet&) = delete;

  const Corpus& corpus() const noexcept { return corpus_; }
  const format::Planes& planes() const noexcept { return corpus_.segments[0].planes; }
  std::size_t count() const noexcept { return corpus_.rows; }
  std::size_t dim() const noexcept { return corpus_.dim; }
  /// One centroid in float32.
  void get(std::size_t list, float* values) const noexcept;
  std::vector<float> values() const;

 private:
  void describe(const format::Planes& planes, std::size_t nlist, std::size_t dim, bool inner_product, unsigned threads);

  OwnedPlanes owned_;
  std::array<std::uint64_t, 2> offsets_{};
  float residual_ = 0;
  Corpus corpus_;
};

/// Rows that an operation takes from its caller, normalised on the way when the metric is cosine.
struct IncomingRows {
  MatrixView rows;
  bool normalize = false;

  /// Row i as the index stores it: the caller's own, or its normalised copy in `buffer` (dim floats).
  const float* get(std::size_t i, float* buffer) const noexcept {
    if (!normalize) return rows.row(i);
    normalize_row(rows.row(i), rows.dim, buffer);
    return buffer;
  }
};

/// The canonical nearest centroid of each row and its value, in bounded batches. `progress` may be empty.
void assign_rows(Backend& backend, const CentroidSet& centroids, const IncomingRows& incoming, std::int32_t* lists,
                 float* values, const Resources& resources, const Progress& progress);

}  // namespace ivf::detail

#pragma once
/// \file
/// The canonical nearest of some centroids to each of many rows, which k-means and adding spend their time on.
///
/// A thread meets a block of rows, packed once, with all centroids, slice by slice. It alone knows its rows: there are
/// no locks, and no memory beyond a block's. A threshold comes from the row's hint, whose canonical value is computed
/// first, or from the first centroids; survivors of the filter lower it, and the few that are left at the end are
/// re-computed.

#include <cstdint>

#include "backends/backend.h"
#include "backends/cpu/bounds.h"
#include "backends/cpu/kernels.h"
#include "buffer.h"

namespace ivf::detail::cpu {

/// Canonical sums of a row, which do not change while centroids do.
struct RowSums {
  double square;    ///< ‖x‖²
  double residual;  ///< ‖x−x̂‖²
};

/// Rows that look for their nearest centroid.
struct NearestRows {
  MatrixView rows;
  RowSums* sums = nullptr;              ///< One a row, kept from call to call; null: not kept.
  bool sums_known = false;              ///< They hold the rows' sums; otherwise they are filled.
  const std::int32_t* hints = nullptr;  ///< A likely answer a row; null: none.
  std::int32_t* lists = nullptr;        ///< Out: the nearest centroid, the smallest number on a tie.
  float* values = nullptr;              ///< Out: its canonical value; null: not wanted.
};

/// Centroids as the filter multiplies them, made once for all rows. Keeps references to what it is made of.
class Nearest {
 public:
  /// `centroids` is a corpus of one segment without ids, and not empty.
  Nearest(const Kernels& kernels, const Corpus& centroids, unsigned threads);

  void find(const NearestRows& rows) const;

 private:
  friend class NearestBlock;
  /// Centroids [first, first + rows) as scan() reads them, staged in `buffer` unless they lie ready.
  const char* operands(std::size_t first, std::size_t rows, char* buffer) const;

  const Kernels& kernels_;
  const Corpus& corpus_;
  unsigned threads_;
  const format::Planes& planes_;
  std::size_t slice_rows_;  ///< Centroids that stay in the second-level cache while a block of rows meets them.
  bool direct_;             ///< They are read where they lie.
  std::size_t row_bytes_;   ///< Of a centroid as it is multiplied.
  Buffer<char> staged_;     ///< All centroids; empty when they are direct, or too many to keep.
  Buffer<float> half_norms_, block_norms_, block_slops_;
  Buffer<float> values_;  ///< The centroids in float32.
  double rho_;
};

}  // namespace ivf::detail::cpu

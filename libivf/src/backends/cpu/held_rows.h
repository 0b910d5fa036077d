#pragma once
/// \file
/// The rows of a training, and what repeated assignments and sums of them share.

#include <cstdint>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/nearest.h"
#include "buffer.h"
#include "ivf/types.hpp"

namespace ivf::detail::cpu {

class CpuHeldRows final : public HeldRows {
 public:
  CpuHeldRows(const Kernels& kernels, MatrixView rows, unsigned threads)
      : kernels_(kernels), rows_(rows), threads_(threads), sums_(rows.rows) {}
  void assign(const Corpus& centroids, std::int32_t* list, float* value) override;
  void update_sums(const FixedPoint& fixed, std::size_t nlist, const std::int32_t* before, const std::int32_t* after,
                   std::uint64_t* sums, std::uint64_t* sizes) override;

 private:
  /// Rows grouped by list: those of list c are rows[offsets[c]] .. rows[offsets[c + 1] - 1], in ascending order.
  struct Grouping {
    std::vector<std::uint64_t> offsets;
    std::vector<std::uint32_t> rows;
  };

  /// Groups the rows i for which wanted(i) holds by lists[i].
  template <class Wanted>
  void group(const std::int32_t* lists, std::size_t nlist, Wanted wanted);
  /// Calls body(row, sums of its list) for the rows of grouping_. A list belongs to one thread.
  template <class Body>
  void for_grouped_rows(std::uint64_t* sums, Body body);

  const Kernels& kernels_;
  MatrixView rows_;
  unsigned threads_;
  Buffer<RowSums> sums_;               ///< Known from the first assignment on.
  std::size_t nlist_ = 0;              ///< Of the last assignment; 0: none yet.
  std::vector<std::int32_t> nearest_;  ///< The last assignment.
  Grouping grouping_;
};

}  // namespace ivf::detail::cpu

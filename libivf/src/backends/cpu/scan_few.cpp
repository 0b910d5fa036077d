// A slice of a list against few queries: products of all rows first, then the comparison, so that a query without a
// threshold gets one from products that are there already.

#include <algorithm>
#include <functional>

#include "backends/cpu/scan_job.h"

namespace ivf::detail::cpu {

void ScanJob::scan_few(const Slice& slice, Workspace& work) {
  const std::size_t d = corpus_.dim, rows = slice.rows();
  work.stats.bytes_scanned += rows * d * sizeof(std::uint16_t);
  describe_rows(slice, work);
  Tile& tile = work.tiles[0];
  set_thresholds(tile, slice.rho);
  float* products = work.few_dots.data();
  const auto scan_args = [&](std::size_t first, std::size_t count) {
    return ScanArgs{slice.segment.planes.hi.data() + (slice.begin + first) * d,
                    false,
                    count,
                    d,
                    true,
                    work.packed.data(),
                    tile.count,
                    work.half_norms + first,
                    work.block_norms + first / scan_block_rows,
                    work.block_slops + first / scan_block_rows,
                    tile.t,
                    tile.kappa,
                    work.scratch.data(),
                    work.dots.data(),
                    work.tags.data()};
  };
  const ScanArgs all = scan_args(0, rows);
  work.few->multiply(&all, products);
  if (tile.open && k_ != 0 && rows / maxima_rows >= k_) {
    open_thresholds(slice, tile, work, [&](std::size_t lane) {
      const std::size_t groups = work.few->maxima(&all, products + lane * scan_rows_max, work.column);
      std::nth_element(work.column, work.column + (k_ - 1), work.column + groups, std::greater<>());
      return work.column[k_ - 1];
    });
  }
  const bool opening = tile.open;
  std::size_t row = 0;
  while (row < rows) {
    const std::size_t step = opening_step(row, rows, opening, tile.open);
    const ScanArgs args = scan_args(row, step);
    const std::size_t found = work.few->select(&args, products + row);
    if (found > 0) collect(tile, found, slice, row, work);
    row += step;
  }
}

}  // namespace ivf::detail::cpu

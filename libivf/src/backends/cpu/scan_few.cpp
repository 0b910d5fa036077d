// A slice of a list against few queries: products of all rows first, then the comparison, so that a query without a
// threshold gets one from products that are there already.

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

#include "backends/cpu/scan_job.h"

namespace ivf::detail::cpu {
namespace {

constexpr std::size_t step = 32;  // Dimensions: FewKernels reads rows in steps of 32.

// Rows shorter than this are read sooner than their lines can be skipped.
constexpr std::size_t abandon_dims = 256;
// Enough rows that pieces of the next ones are fetched while those of the last are multiplied, and few enough that the
// threshold, which is looked at once a slice, stays tight.
constexpr std::size_t abandon_slice = 256;
// Rows after which a search that skips little stops trying, and what it has to skip.
constexpr std::uint64_t trial_rows = 1024;
constexpr double least_skipped = 0.25;
// A corpus of this size (centroids) stays in the second-level cache, where whole rows are read fastest.
constexpr std::uint64_t cached_bytes = std::uint64_t{1} << 20;

/// The square of a value as the filter multiplies it.
double operand_square(float value, bool rounded) noexcept {
  if (rounded) value = std::bit_cast<float>((std::bit_cast<std::uint32_t>(value) + 0x8000u) & 0xffff0000u);
  return static_cast<double>(value) * static_cast<double>(value);
}

/// Cuts a query into segments and orders them, those where it is longest first: they bring most of the product, and
/// leave a small bound of the rest.
void order_segments(const float* query, std::size_t d, bool rounded, AbandonArgs& args) noexcept {
  const std::size_t steps = (d + step - 1) / step;
  const std::size_t each = std::max<std::size_t>(2, (steps + abandon_segments - 1) / abandon_segments);
  args.segments = steps / each;
  double square[abandon_segments];
  for (std::size_t s = 0; s < args.segments; ++s) {
    const std::size_t first = s * steps / args.segments, last = (s + 1) * steps / args.segments;
    double sums[8] = {};
    for (std::size_t i = first * step; i < std::min(last * step, d); ++i)
      sums[i % 8] += operand_square(query[i], rounded);
    square[s] = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
    args.order[s] = {first, last, 0};
  }
  std::size_t ranks[abandon_segments];
  for (std::size_t s = 0; s < args.segments; ++s) ranks[s] = s;
  std::sort(ranks, ranks + args.segments, [&](std::size_t a, std::size_t b) { return square[a] > square[b]; });
  AbandonSegment ordered[abandon_segments];
  double rest = 0;
  for (std::size_t s = args.segments; s-- > 0;) {
    ordered[s] = args.order[ranks[s]];
    ordered[s].rest = rest_bound(rest);
    rest += square[ranks[s]];
  }
  std::copy_n(ordered, args.segments, args.order);
}

}  // namespace

void ScanJob::plan_abandoning(Workspace& work) const {
  Abandoning& plan = work.abandoning;
  const Tile& tile = work.tiles[0];
  plan.active = tile.count == 1 && corpus_.dim >= abandon_dims &&
                corpus_.rows * corpus_.dim * sizeof(std::uint16_t) > cached_bytes &&
                (plan.possible < trial_rows * corpus_.dim ||
                 static_cast<double>(plan.read) < (1 - least_skipped) * static_cast<double>(plan.possible));
  if (!plan.active || plan.query == tile.query[0]) return;
  plan.query = tile.query[0];
  order_segments(request_.queries.row(first_ + plan.query), corpus_.dim, kernels_.scan->rounds_queries, plan.args);
}

std::size_t ScanJob::slice_rows(const Workspace& work) const noexcept {
  if (work.few == nullptr) return work.slice_rows;
  if (!work.abandoning.active) return scan_rows_max;
  const float limit = pool_.limit(work.tiles[0].query[0]);
  if (limit != std::numeric_limits<float>::infinity() || k_ == 0) return abandon_slice;
  // Just enough rows for a first threshold.
  return std::min((k_ * maxima_rows + scan_block_rows - 1) / scan_block_rows * scan_block_rows, scan_rows_max);
}

void ScanJob::scan_few(const Slice& slice, Workspace& work) {
  const std::size_t d = corpus_.dim, rows = slice.rows();
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
  std::uint64_t read = rows * d;
  if (work.abandoning.active && !tile.open) {
    Abandoning& plan = work.abandoning;
    plan.args.norms = slice.segment.planes.norms.data() + slice.begin;
    plan.args.scale = abandon_scale(slice.rho, d);
    read = work.few->multiply_abandoning(&all, &plan.args, products);
    plan.possible += rows * d;
    plan.read += read;
  } else {
    work.few->multiply(&all, products);
  }
  work.stats.bytes_scanned += read * sizeof(std::uint16_t);
  if (tile.open && k_ != 0 && rows / maxima_rows >= k_) {
    open_thresholds(slice, tile, work, [&](std::size_t lane) {
      const std::size_t groups = work.few->maxima(&all, products + lane * scan_rows_max, work.column);
      std::nth_element(work.column, work.column + (k_ - 1), work.column + groups, std::greater<>());
      return work.column[k_ - 1];
    });
  }
  const bool opening = tile.open;
  std::size_t next = 0;
  while (next < rows) {
    const std::size_t step = opening_step(next, rows, opening, tile.open);
    const ScanArgs args = scan_args(next, step);
    const std::size_t found = work.few->select(&args, products + next);
    if (found > 0) collect(tile, found, slice, next, work);
    next += step;
  }
}

}  // namespace ivf::detail::cpu

#include "backends/cpu/scan_job.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

#include "backends/cpu/row_bounds.h"
#include "index/row_sets.h"
#include "ivf/format/row_bits.hpp"
#include "parallel.h"

namespace ivf::detail::cpu {
namespace {

constexpr std::uint64_t rows_per_task = 8192;
// Measured: one round is faster up to an average group of 550, three are at 1200 (docs/simd.md).
constexpr double largest_group_of_one_round = 600;

}  // namespace

ScanJob::ScanJob(const Kernels& kernels, WorkspacePool& workspaces, const ScanRequest& request, std::size_t first,
                 std::size_t last, std::size_t k, float limit)
    : kernels_(kernels),
      workspaces_(workspaces),
      request_(request),
      corpus_(*request.corpus),
      first_(first),
      k_(k),
      pool_(kernels, request, first, last, k, limit),
      prepared_stride_(round_up(kernels.scan->prepared_bytes(request.corpus->dim), 64)) {
  prepared_ = Buffer<char>(pool_.size() * prepared_stride_);
  parallel_for(request_.threads, pool_.size(), 256, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t q = begin; q < end; ++q)
      kernels_.scan->prepare(request_.queries.row(first_ + q), corpus_.dim, prepared_.data() + q * prepared_stride_);
  });
  std::uint64_t start = 0;
  for (const auto& segment : corpus_.segments) {
    segment_start_.push_back(start);
    start += segment.rows;
  }
  list_rows_.assign(corpus_.nlist, 0);
  bool radii_known = !corpus_.segments.empty();
  for (const auto& segment : corpus_.segments) {
    for (std::size_t l = 0; l < corpus_.nlist; ++l) list_rows_[l] += segment.offsets[l + 1] - segment.offsets[l];
    radii_known &= segment.radii.size() == corpus_.nlist;
  }
  if (radii_known && request_.probes.bounds != nullptr && !corpus_.inner_product) {
    list_radius_.assign(corpus_.nlist, 0.0f);
    for (const auto& segment : corpus_.segments) {
      for (std::size_t l = 0; l < corpus_.nlist; ++l) list_radius_[l] = std::max(list_radius_[l], segment.radii[l]);
    }
  }
  if (request_.max_codes == 0) return;
  row_limits_ = limit_rows(last);
  // No row of a list behind its last limit is looked at: nothing is planned for them.
  std::vector<std::uint64_t> rows(corpus_.nlist);
  for (std::size_t i = 0; i < row_limits_.size(); ++i) {
    const std::int64_t list = probed_list(request_.probes, first_ + i / ranks(), i % ranks());
    if (list < 0) continue;
    std::uint64_t& most = rows[static_cast<std::size_t>(list)];
    most = std::max(most, row_limits_[i]);
  }
  list_rows_ = std::move(rows);
}

std::vector<std::uint64_t> ScanJob::limit_rows(std::size_t last) const {
  const auto is_whole = [](const format::SegmentView& segment) { return segment.removed.empty(); };
  if (std::all_of(corpus_.segments.begin(), corpus_.segments.end(), is_whole))
    return cut_by_max_codes(request_.probes, list_rows_, first_, last, request_.max_codes);
  // Removed rows do not count: the cap is found among the others, and then the place where they reach it.
  const auto present = present_rows(corpus_.segments, corpus_.nlist);
  auto limits = cut_by_max_codes(request_.probes, present, first_, last, request_.max_codes);
  for (std::size_t i = 0; i < limits.size(); ++i) {
    const std::int64_t list = probed_list(request_.probes, first_ + i / ranks(), i % ranks());
    if (list < 0) continue;
    const auto l = static_cast<std::size_t>(list);
    limits[i] = limits[i] == present[l] ? list_rows_[l] : rows_until(corpus_.segments, l, limits[i]);
  }
  return limits;
}

std::size_t ScanJob::bytes_per_query(const Kernels& kernels, std::size_t d, std::size_t k) noexcept {
  return QueryPool::bytes_per_query(k) + round_up(kernels.scan->prepared_bytes(d), 64);
}

std::uint64_t ScanJob::task_rows(std::uint64_t rows) const noexcept {
  if (request_.threads == 1 || pool_.size() > few_queries) return rows_per_task;
  // A few tasks a thread, so that none waits long for another at the end, but none so small that handing it out is
  // felt, or, where one list is all there is (centroids), that a first threshold of its own is.
  constexpr std::uint64_t tasks_per_thread = 8;
  const std::uint64_t least_bytes = request_.probes.lists == nullptr ? 512 << 10 : 128 << 10;
  const std::uint64_t least =
      std::max<std::uint64_t>(least_bytes / (corpus_.dim * sizeof(std::uint16_t)), k_ * maxima_rows);
  const std::uint64_t share = std::max(rows / (request_.threads * tasks_per_thread), least);
  return std::min<std::uint64_t>(round_up(share, scan_block_rows), rows_per_task);
}

void ScanJob::run(SearchMode mode, SearchStats& stats) {
  if (mode == SearchMode::matrix) {
    run_matrix(stats);
  } else {
    run_csr(stats);
  }
}

void ScanJob::run_csr(SearchStats& stats) {
  // Nearest lists first: they set thresholds that discard most of the rest. Rounds make sure of that, but read a list
  // once a round; in small groups it is enough to start with the tasks that hold somebody's nearest list.
  const bool one_round = average_group(pool_.size(), ranks(), corpus_.nlist) <= largest_group_of_one_round;
  const std::size_t ends[] = {one_round ? ranks() : 1, 4, ranks()};
  std::size_t begin = 0;
  const std::size_t member_block = tiles_per_task * kernels_.scan->tile;
  for (std::size_t end : ends) {
    // Without probes every query scans every list: one round, and no order among them.
    end = request_.probes.lists == nullptr ? ranks() : std::min(end, ranks());
    if (end <= begin) continue;
    const Groups groups = group_by_list(request_.probes, corpus_.nlist, first_, first_ + pool_.size(), begin, end);
    std::uint64_t rows = 0;
    for (std::size_t l = 0; l < corpus_.nlist; ++l) {
      if (groups.offsets[l + 1] != groups.offsets[l]) rows += list_rows_[l];
    }
    std::vector<ScanTask> tasks = cut_tasks(groups, list_rows_, member_block, task_rows(rows));
    if (one_round) order_nearest_first(tasks, groups);
    run_tasks(tasks, groups, stats);
    begin = end;
  }
}

void ScanJob::run_matrix(SearchStats& stats) {
  // One task a (rank, query), nearest lists of all queries first; the probes of one query spread over the threads.
  Groups groups;
  std::vector<std::uint32_t> lists;  // Of each member.
  std::uint64_t rows = 0;
  for (std::size_t rank = 0; rank < ranks(); ++rank) {
    for (std::size_t q = 0; q < pool_.size(); ++q) {
      const std::int64_t list = probed_list(request_.probes, first_ + q, rank);
      if (list < 0) continue;
      groups.members.push_back({static_cast<std::uint32_t>(q), static_cast<std::uint32_t>(rank)});
      lists.push_back(static_cast<std::uint32_t>(list));
      rows += list_rows_[static_cast<std::size_t>(list)];
    }
  }
  const std::uint64_t step = task_rows(rows);
  std::vector<ScanTask> tasks;
  for (std::size_t member = 0; member < lists.size(); ++member) {
    const std::uint64_t size = list_rows_[lists[member]];
    for (std::uint64_t row = 0; row < size; row += step)
      tasks.push_back({lists[member], member, member + 1, row, std::min(row + step, size)});
  }
  run_tasks(tasks, groups, stats);
}

void ScanJob::run_tasks(const std::vector<ScanTask>& tasks, const Groups& groups, SearchStats& stats) {
  if (tasks.empty()) return;
  const unsigned threads = static_cast<unsigned>(std::min<std::size_t>(request_.threads, tasks.size()));
  std::vector<std::unique_ptr<Workspace>> workspaces(threads);
  parallel_for(threads, tasks.size(), 1, [&](std::size_t begin, std::size_t end, unsigned thread) {
    if (!workspaces[thread]) workspaces[thread] = workspaces_.take(kernels_, corpus_.dim);
    for (std::size_t i = begin; i < end; ++i) scan(tasks[i], groups.members.data(), *workspaces[thread]);
  });
  for (auto& work : workspaces) {
    if (!work) continue;
    add_counters(stats, work->stats);
    workspaces_.put_back(std::move(work));
  }
}

bool ScanJob::pruned(std::uint32_t query, std::uint32_t rank, std::uint32_t list) const noexcept {
  if (list_radius_.empty()) return false;
  // Every row of the list is at least ‖q−c‖ − r away. The bound is at most the canonical value, which is within half an
  // ulp of ‖q−c‖²; the margin of 2^-20 covers that, the square root and the rounding of the row's own value. Where
  // float32 ends, half an ulp is not relative: an infinite value only says that ‖q−c‖² exceeds the largest float, and
  // denormals are 2^-149 apart.
  const double value = request_.probes.bounds[(first_ + query) * ranks() + rank];
  const double distance =
      std::sqrt(std::max(0.0, std::min(value, double{std::numeric_limits<float>::max()}) - 0x1p-149));
  const double nearest = distance * (1 - 0x1p-20) - static_cast<double>(list_radius_[list]) * (1 + 0x1p-20);
  return nearest > 0 && nearest * nearest * (1 - 0x1p-20) - 0x1p-149 > static_cast<double>(pool_.limit(query));
}

void ScanJob::scan(const ScanTask& task, const Groups::Member* members, Workspace& work) {
  const std::size_t tile_size = kernels_.scan->tile;
  const void* rows[max_tile];
  work.tile_count = 0;
  work.few = task.last_member - task.first_member <= kernels_.few_limit ? kernels_.few : nullptr;
  std::uint64_t last_row = 0;
  std::size_t member = task.first_member;
  while (member < task.last_member) {
    auto& tile = work.tiles[work.tile_count];
    tile.count = 0;
    for (; member < task.last_member && tile.count < tile_size; ++member) {
      const auto [query, rank] = members[member];
      const std::uint64_t limit =
          row_limits_.empty() ? task.last_row : std::min(task.last_row, row_limits_[query * ranks() + rank]);
      if (limit <= task.first_row) continue;
      if (pruned(query, rank, task.list)) {
        work.stats.lists_pruned += task.first_row == 0;
        continue;
      }
      work.stats.lists_scanned += task.first_row == 0;
      work.stats.rows_scanned += limit - task.first_row;
      last_row = std::max(last_row, limit);
      tile.query[tile.count] = query;
      tile.row_limit[tile.count] = limit;
      rows[tile.count++] = prepared_.data() + query * prepared_stride_;
      pool_.prefetch_state(query);
    }
    if (tile.count == 0) continue;
    (work.few != nullptr ? work.few->pack : kernels_.scan->pack)(
        rows, tile.count, corpus_.dim, work.packed.data() + work.tile_count * work.packed_stride);
    ++work.tile_count;
  }
  if (work.tile_count == 0) return;
  if (work.few != nullptr) plan_abandoning(work);

  std::uint64_t position = 0;  // In the list, of the segment's first row.
  for (std::size_t s = 0; s < corpus_.segments.size() && position < last_row; ++s) {
    const auto& segment = corpus_.segments[s];
    const std::uint64_t begin = segment.offsets[task.list], size = segment.offsets[task.list + 1] - begin;
    const std::uint64_t from = std::max(position, task.first_row), to = std::min(position + size, last_row);
    if (from < to) {
      const double rho = segment.residuals.empty() ? 0x1p-8 : static_cast<double>(segment.residuals[task.list]);
      for (std::uint64_t row = from; row < to;) {
        const std::uint64_t stop = std::min<std::uint64_t>(row + slice_rows(work), to);
        const Slice slice{segment, segment_start_[s],   begin + (row - position), begin + (stop - position), row,
                          rho,     corpus_.hidden_in(s)};
        row = stop;
        if (format::count_rows(slice.hidden, slice.begin, slice.end) == slice.rows()) continue;
        work.few != nullptr ? scan_few(slice, work) : scan_slice(slice, work);
      }
    }
    position += size;
  }
}

void ScanJob::describe_rows(const Slice& slice, Workspace& work) const noexcept {
  cpu::describe_rows(slice.segment.planes.norms.data() + slice.begin, slice.rows(), corpus_.inner_product,
                     work.half_norms, work.block_norms, work.block_slops);
  if (slice.hidden.empty()) return;
  // Too far away for any threshold. Where the block's slack is infinite, too, the row passes; collect() drops it.
  for (std::size_t i = 0; i < slice.rows(); ++i) {
    if (format::has_row(slice.hidden, slice.begin + i)) work.half_norms[i] = infinity;
  }
}

void ScanJob::set_thresholds(Tile& tile, double rho) const noexcept {
  tile.open = false;
  for (std::size_t lane = 0; lane < tile.count; ++lane) {
    const std::uint32_t query = tile.query[lane];
    const QueryNorms& norms = pool_.norms(query);
    const float limit = pool_.limit(query);
    tile.slope[lane] = kappa(norms, rho);
    tile.kappa[lane] = static_cast<float>(tile.slope[lane]);
    tile.t[lane] = discard_offset(norms, limit, corpus_.inner_product);
    tile.open |= limit == infinity;
    // The candidates of thousands of queries do not fit the caches: fetch them while the rows are scanned.
    pool_.prefetch_candidates(query);
  }
}

void ScanJob::scan_slice(const Slice& slice, Workspace& work) {
  const std::size_t d = corpus_.dim, rows = slice.rows();
  work.stats.bytes_scanned += rows * d * sizeof(std::uint16_t);
  describe_rows(slice, work);
  const std::uint16_t* hi = slice.segment.planes.hi.data() + slice.begin * d;
  // In place, the last block reads on into the next list, whose products are ignored; at the end of the plane it
  // cannot.
  const bool staged =
      !kernels_.scan->direct(hi, d) || slice.begin + round_up(rows, scan_block_rows) > slice.segment.rows;
  const std::size_t row_bytes = staged ? kernels_.scan->staged_bytes(d) : d * sizeof(std::uint16_t);
  const char* rows_data = reinterpret_cast<const char*>(hi);
  if (staged) {
    kernels_.scan->stage(hi, rows, d, work.staged.data());
    rows_data = work.staged.data();
  }
  for (std::size_t i = 0; i < work.tile_count; ++i) {
    auto& tile = work.tiles[i];
    set_thresholds(tile, slice.rho);
    std::fill(tile.t + tile.count, tile.t + kernels_.scan->tile, 0.0f);
    std::fill(tile.kappa + tile.count, tile.kappa + kernels_.scan->tile, 0.0f);
    const auto scan_args = [&](std::size_t first, std::size_t count) {
      return ScanArgs{rows_data + first * row_bytes,
                      staged,
                      count,
                      d,
                      i == 0,
                      work.packed.data() + i * work.packed_stride,
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
    if (tile.open && k_ != 0 && rows / maxima_rows >= k_) {
      const std::size_t groups = (rows + maxima_rows - 1) / maxima_rows;
      const ScanArgs args = scan_args(0, rows);
      kernels_.scan->maxima(&args, work.maxima.data());
      float kth[max_tile];
      kernels_.rows->kth_largest(work.maxima.data(), groups, kernels_.scan->tile, tile.count, k_, kth);
      open_thresholds(slice, tile, work, [&](std::size_t lane) { return kth[lane]; });
    }
    const bool opening = tile.open;
    std::size_t row = 0;
    while (row < rows) {
      const std::size_t step = opening_step(row, rows, opening, tile.open);
      const ScanArgs args = scan_args(row, step);
      const std::size_t found = kernels_.scan->scan(&args);
      if (found > 0) collect(tile, found, slice, row, work);
      row += step;
    }
  }
}

void ScanJob::open_thresholds(const Slice& slice, Tile& tile, Workspace& work,
                              const std::function<float(std::size_t lane)>& kth_largest) {
  // Rows of different groups are different rows: at least k of them are as good as the k-th best of the groups' best.
  float norm = 0;
  for (std::size_t block = 0; block * scan_block_rows < slice.rows(); ++block)
    norm = std::max(norm, work.block_norms[block]);
  if (!(norm < largest_norm)) return;
  tile.open = false;
  for (std::size_t lane = 0; lane < tile.count; ++lane) {
    const std::uint32_t query = tile.query[lane];
    const QueryNorms& norms = pool_.norms(query);
    if (pool_.limit(query) != infinity) continue;
    if (tile.row_limit[lane] < slice.list_position + slice.rows() || !(norms.norm < largest_norm)) {
      tile.open = true;
      continue;
    }
    const float kth = kth_largest(lane);
    if (kth == -infinity) {  // Too few of the rows may be found.
      tile.open = true;
      continue;
    }
    const float limit = opening_limit(norms, kth, static_cast<double>(norm), tile.slope[lane], corpus_.inner_product);
    pool_.lower_limit(query, limit);
    tile.t[lane] = discard_offset(norms, limit, corpus_.inner_product);
  }
}

void ScanJob::collect(Tile& tile, std::size_t found, const Slice& slice, std::size_t first, Workspace& work) {
  std::fill_n(work.lane_count, tile.count, std::size_t{0});
  for (std::size_t i = 0; i < found; ++i) {
    const std::size_t lane = work.tags[i] % max_tile, row = work.tags[i] / max_tile;
    if (slice.list_position + first + row >= tile.row_limit[lane]) continue;
    if (format::has_row(slice.hidden, slice.begin + first + row)) continue;
    const ScoreBounds bounds =
        score_bounds(pool_.norms(tile.query[lane]), work.dots[i], slice.segment.planes.norms[slice.begin + first + row],
                     static_cast<double>(work.block_norms[(first + row) / scan_block_rows]), tile.slope[lane],
                     corpus_.inner_product);
    work.lane_candidates[lane * lane_stride + work.lane_count[lane]++] = {
        bounds.lower, bounds.upper, slice.segment_start + slice.begin + first + row};
  }
  const bool was_open = tile.open;
  tile.open = false;
  for (std::size_t lane = 0; lane < tile.count; ++lane) {
    const std::uint32_t query = tile.query[lane];
    if (work.lane_count[lane] > 0) {
      pool_.add(query, work.lane_candidates.data() + lane * lane_stride, work.lane_count[lane], work.stats);
      tile.t[lane] = discard_offset(pool_.norms(query), pool_.limit(query), corpus_.inner_product);
    }
    tile.open |= was_open && pool_.limit(query) == infinity;
  }
}

}  // namespace ivf::detail::cpu

#pragma once
/// \file
/// One batch of queries against a corpus: per-query candidates and thresholds shared by the threads, and the scan of a
/// task.

#include <cstdint>
#include <functional>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/query_pool.h"
#include "backends/cpu/workspace.h"
#include "buffer.h"
#include "search/plan.h"

namespace ivf::detail::cpu {

/// Queries [first, last) of a request. Thread-safe where it says so.
class ScanJob {
 public:
  /// k results a query; k = 0: everything with a score below the fixed `limit` (range search).
  ScanJob(const Kernels& kernels, WorkspacePool& workspaces, const ScanRequest& request, std::size_t first,
          std::size_t last, std::size_t k, float limit);

  /// Bytes a query takes in a job, for splitting batches.
  static std::size_t bytes_per_query(const Kernels& kernels, std::size_t d, std::size_t k) noexcept;

  /// Its queries and what was found for them.
  QueryPool& pool() noexcept { return pool_; }
  /// Scans everything that the request asks for.
  void run(SearchMode mode, SearchStats& stats);

 private:
  /// Rows [begin, end) of a segment, which belong to one list.
  struct Slice {
    const format::SegmentView& segment;
    std::uint64_t segment_start;  ///< Position of the segment's first row.
    std::uint64_t begin, end;
    std::uint64_t list_position;            ///< Of row `begin` in the list, over all segments.
    double rho;                             ///< Bound of the rows' relative residuals.
    std::span<const std::uint64_t> hidden;  ///< Rows of the segment that must not be found; empty: none.
    std::size_t rows() const noexcept { return end - begin; }
  };
  void run_csr(SearchStats& stats);
  void run_matrix(SearchStats& stats);
  /// Rows of a task at most, when `rows` are to be scanned in all.
  std::uint64_t task_rows(std::uint64_t rows) const noexcept;
  void run_tasks(const std::vector<ScanTask>& tasks, const Groups& groups, SearchStats& stats);
  void scan(const ScanTask& task, const Groups::Member* members, Workspace& work);
  void scan_slice(const Slice& slice, Workspace& work);
  /// The same for few queries (work.few).
  void scan_few(const Slice& slice, Workspace& work);
  /// Decides whether the one query of a task abandons rows.
  void plan_abandoning(Workspace& work) const;
  /// Rows of the next slice at most.
  std::size_t slice_rows(const Workspace& work) const noexcept;
  void describe_rows(const Slice& slice, Workspace& work) const noexcept;
  /// The rows of each probe that max_codes lets be scanned.
  std::vector<std::uint64_t> limit_rows(std::size_t last) const;
  void set_thresholds(Tile& tile, double rho) const noexcept;
  /// Sets first thresholds of a tile's queries: kth_largest(lane) is reached by the best products of at least k groups
  /// of the slice's rows.
  void open_thresholds(const Slice& slice, Tile& tile, Workspace& work,
                       const std::function<float(std::size_t lane)>& kth_largest);
  /// Survivors whose rows count from row `first` of the slice.
  void collect(Tile& tile, std::size_t found, const Slice& slice, std::size_t first, Workspace& work);
  /// Rows of the next step: while a threshold is open, as many as were seen before, so that each doubling of the rows
  /// keeps about k candidates more.
  static std::size_t opening_step(std::size_t row, std::size_t rows, bool opening, bool still_open) noexcept {
    constexpr std::size_t first_look = 32;
    return std::min(rows - row, opening ? std::max(first_look, still_open ? 0 : row) : rows);
  }
  bool pruned(std::uint32_t query, std::uint32_t rank, std::uint32_t list) const noexcept;
  std::size_t ranks() const noexcept {
    return request_.probes.lists == nullptr ? corpus_.nlist : request_.probes.nprobe;
  }

  const Kernels& kernels_;
  WorkspacePool& workspaces_;
  const ScanRequest& request_;
  const Corpus& corpus_;
  std::size_t first_;  ///< Of the request's queries.
  std::size_t k_;
  QueryPool pool_;
  Buffer<char> prepared_;
  std::size_t prepared_stride_;
  std::vector<std::uint64_t> segment_start_;  ///< Of each segment, in positions over all of them.
  std::vector<std::uint64_t> list_rows_;
  std::vector<float> list_radius_;         ///< Over all segments; empty when unknown.
  std::vector<std::uint64_t> row_limits_;  ///< With max_codes: rows of each probe that are scanned.
};

}  // namespace ivf::detail::cpu

#pragma once
/// \file
/// One batch of queries against a corpus: per-query candidates and thresholds shared by the threads, and the scan of a
/// task.

#include <cstdint>
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
  void run_csr(SearchStats& stats);
  void run_matrix(SearchStats& stats);
  void run_tasks(const std::vector<ScanTask>& tasks, const Groups& groups, SearchStats& stats);
  void scan(const ScanTask& task, const Groups::Member* members, Workspace& work);
  void scan_slice(const format::SegmentView& segment, std::uint64_t segment_start, std::uint64_t begin,
                  std::uint64_t end, std::uint64_t list_position, double rho, Workspace& work);
  void collect(std::size_t tile, std::size_t found, const format::SegmentView& segment, std::uint64_t first_row,
               std::size_t slice_row, std::uint64_t segment_start, std::uint64_t list_position, Workspace& work);
  void open_thresholds(const ScanArgs& args, std::uint64_t list_end, Tile& tile, Workspace& work);
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
  std::vector<std::uint64_t> row_limits_;  ///< With max_codes: rows of each probe that count.
};

}  // namespace ivf::detail::cpu

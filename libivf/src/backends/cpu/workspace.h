#pragma once
/// \file
/// What one thread needs to scan tasks, and a pool of such workspaces.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "backends/cpu/kernels.h"
#include "buffer.h"
#include "ivf/search.hpp"
#include "topk/candidates.h"

namespace ivf::detail::cpu {

/// Tiles of queries that meet the rows of a task.
inline constexpr std::size_t tiles_per_task = 8;

// Candidates of a lane; not a power of two, so that the lanes' first ones do not share cache sets.
inline constexpr std::size_t lane_stride = scan_rows_max + 5;

/// Queries that are multiplied together.
struct Tile {
  std::size_t count = 0;
  bool open = false;  ///< A lane has no threshold yet.
  std::uint32_t query[max_tile];
  std::uint64_t row_limit[max_tile];  ///< Rows of the list that count for the query.
  double slope[max_tile];
  alignas(64) float t[max_tile];
  alignas(64) float kappa[max_tile];
};

/// How one query abandons rows, and whether that is worth it.
struct Abandoning {
  static constexpr std::uint32_t no_query = UINT32_MAX;
  bool active = false;             ///< For the task at hand.
  std::uint32_t query = no_query;  ///< Of `args`.
  std::uint64_t possible = 0;      ///< Dimensions of the rows that were tried in this search, and those that were read.
  std::uint64_t read = 0;
  AbandonArgs args;
};

/// Kept between searches: making one costs more than a small search.
struct Workspace {
  Workspace(const Kernels& kernels, std::size_t d);

  const ScanKernels* scan;
  std::size_t dim;
  std::size_t packed_stride;
  std::size_t slice_rows;  ///< Rows that are staged together.
  Buffer<char> packed, scratch, staged;
  Buffer<float> dots;
  Buffer<std::uint32_t> tags;
  float half_norms[scan_rows_max];
  float block_norms[scan_rows_max / scan_block_rows];
  float block_slops[scan_rows_max / scan_block_rows];
  Tile tiles[tiles_per_task];
  std::size_t tile_count = 0;
  const FewKernels* few = nullptr;  ///< What scans the task at hand, or null: the kernels of tiles.
  std::size_t lane_count[max_tile];
  Buffer<Candidate> lane_candidates;  ///< lane_stride a lane.
  Buffer<float> maxima;
  Buffer<float> few_dots;  ///< scan_rows_max a query, for few queries.
  Abandoning abandoning;
  float column[scan_rows_max / maxima_rows];  ///< Maxima of one query.
  SearchStats stats;
};

/// Adds what a thread counted. Times are taken by the caller.
inline void add_counters(SearchStats& total, const SearchStats& part) noexcept {
  total.lists_scanned += part.lists_scanned;
  total.lists_pruned += part.lists_pruned;
  total.rows_scanned += part.rows_scanned;
  total.rows_refined += part.rows_refined;
  total.bytes_scanned += part.bytes_scanned;
}

/// Workspaces that are not in use, for one dimension at a time. Thread-safe.
class WorkspacePool {
 public:
  std::unique_ptr<Workspace> take(const Kernels& kernels, std::size_t d);
  void put_back(std::unique_ptr<Workspace> workspace);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace ivf::detail::cpu

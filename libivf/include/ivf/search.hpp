#pragma once
/// \file
/// Parameters, results and statistics of a search.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ivf/ids.hpp"
#include "ivf/types.hpp"

namespace ivf {

/// How the work of a search is organised. All modes return the same results.
enum class SearchMode {
  automatic,  ///< Chosen from avg_group = nq * nprobe / nlist.
  matrix,     ///< Per query: all candidates of a query together. Best for tiny batches.
  csr,        ///< Per list: the queries that probe a list are grouped and its rows are read once. Best for throughput.
};

/// How a search with a filter finds its rows.
enum class FilterPlan {
  automatic,  ///< `direct` where no more rows are allowed than a query would scan, else `scan`.
  scan,       ///< The probed lists are scanned, and rows that are not allowed passed over.
  direct,     ///< The allowed rows are scanned, and no others: the result is exact, whatever nprobe and max_codes say.
};

/// Which rows a search may find.
struct Filter {
  std::shared_ptr<const IdSet> ids;  ///< Null: all rows.
  bool forbid = false;               ///< The rows with other ids than these.
  FilterPlan plan = FilterPlan::automatic;
};

/// Called between pieces of long work with (what, done, total) in rows or queries, from the calling thread.
/// It may throw to abandon the operation, which then has no effect.
using Progress = std::function<void(const char* phase, std::uint64_t done, std::uint64_t total)>;

/// Resources of an operation.
struct RunOptions {
  unsigned threads = 0;  ///< 0: all that the process may use (affinity and cgroup quota).
  std::uint64_t max_memory =
      0;              ///< Cap of the workspace in bytes; 0: 1 GiB. Larger batches are split; results do not change.
  Progress progress;  ///< May be empty.
};

struct SearchParams : RunOptions {
  std::size_t k = 10;
  std::size_t nprobe = 1;       ///< Lists scanned a query; values over nlist mean nlist. Ignored by a flat index.
  std::uint64_t max_codes = 0;  ///< Rows scanned a query at most, in probe order, the last list cut; 0: no limit.
  SearchMode mode = SearchMode::automatic;
  Filter filter;
  bool profile = false;  ///< Have a device time its phases (SearchStats::device_phases), which costs a little.
};

/// A part of a device's work, by the device's own clock.
struct DevicePhase {
  std::string name;
  double ms = 0;
};

/// What a search did. Counts are over all queries.
struct SearchStats {
  SearchMode chosen_mode = SearchMode::matrix;
  double avg_group_size = 0;  ///< nq * nprobe / nlist.
  double auto_threshold = 0;  ///< avg_group_size from which `automatic` takes csr.
  std::string isa;            ///< The level that ran: "scalar", "avx2", "avx512bf16", "avx512", "amx", "neon".
  unsigned threads = 0;
  std::uint64_t lists_scanned = 0;    ///< (query, list) pairs scanned.
  std::uint64_t lists_pruned = 0;     ///< (query, list) pairs skipped because a bound excluded them.
  std::uint64_t rows_scanned = 0;     ///< (query, row) pairs that the filter looked at.
  std::uint64_t rows_passed = 0;      ///< (query, row) pairs that a device kept in its scans, before the last limits.
  std::uint64_t rows_refined = 0;     ///< (query, row) pairs re-computed canonically.
  std::uint64_t queries_widened = 0;  ///< Queries scanned again because the first selection was not provably enough.
  std::uint64_t queries_on_host = 0;  ///< Of those that a device re-computes: with a value that the host had to decide.
  std::uint64_t host_syncs = 0;       ///< Times that the host waited for a device.
  FilterPlan filter_plan = FilterPlan::automatic;  ///< What a filter's search did: scan or direct.
  std::uint64_t rows_allowed = 0;                  ///< Rows of the index that the filter allows.
  std::uint64_t bytes_scanned = 0;  ///< Bytes of the hi plane that the scan read (each list once a group).
  double coarse_ms = 0, group_ms = 0, scan_ms = 0, refine_ms = 0, merge_ms = 0;  ///< Wall clock of the phases.
  /// Of SearchParams::profile, in order; the times above are then sums of these.
  std::vector<DevicePhase> device_phases;
};

/// Top-k results, row-major nq x k. Missing results are id -1 with +inf (L2) or -inf (IP, cosine).
struct SearchResult {
  std::size_t nq = 0, k = 0;
  std::vector<float> distances;
  std::vector<idx_t> ids;
  SearchStats stats;
};

/// All rows within a radius: query i's are [lims[i], lims[i+1]), ordered like a top-k result.
struct RangeResult {
  std::vector<std::uint64_t> lims;  ///< nq + 1
  std::vector<float> distances;
  std::vector<idx_t> ids;
  SearchStats stats;
};

}  // namespace ivf

#pragma once
/// \file
/// Planning of a scan: which mode, in which rounds, and which queries meet which list. No arithmetic on vectors, no
/// device code.

#include <cstdint>
#include <vector>

#include "backends/backend.h"

namespace ivf::detail {

/// Average group size from which lists are scanned list-major. Set by the measurement in docs/simd.md.
inline constexpr double csr_threshold = 0.125;

/// avg_group = nq * nprobe / nlist: the mean number of queries that probe a list.
double average_group(std::size_t nq, std::size_t nprobe, std::size_t nlist) noexcept;

SearchMode choose_mode(SearchMode asked, double avg_group) noexcept;

/// The list of a query's probe, or -1.
std::int64_t probed_list(const Probes& probes, std::size_t query, std::size_t rank) noexcept;

/// Queries grouped by the list that they probe: members of list l are members[offsets[l] .. offsets[l+1]).
struct Groups {
  struct Member {
    std::uint32_t query;
    std::uint32_t rank;  ///< Position of the list in the query's probes.
  };
  std::vector<std::size_t> offsets;
  std::vector<Member> members;
};

/// Groups the probes of queries [first, last) with first_rank <= rank < last_rank. Member queries count from `first`.
Groups group_by_list(const Probes& probes, std::size_t nlist, std::size_t first, std::size_t last,
                     std::size_t first_rank, std::size_t last_rank);

/// A piece of work: a block of a list's members against a range of its rows.
struct ScanTask {
  std::uint32_t list;
  std::size_t first_member, last_member;  ///< In Groups::members.
  std::uint64_t first_row, last_row;      ///< Positions in the list, over all segments.
};

/// Cuts groups into tasks of at most `member_block` members and `row_block` rows, the most expensive first, so that no
/// thread is left with a large one at the end.
std::vector<ScanTask> cut_tasks(const Groups& groups, const std::vector<std::uint64_t>& list_rows,
                                std::size_t member_block, std::uint64_t row_block);

/// Puts tasks in the order of the best rank among their members, so that the queries' nearest lists come first; tasks
/// of equal rank stay in their order.
void order_nearest_first(std::vector<ScanTask>& tasks, const Groups& groups);

/// Rows of each list that a query with `max_codes` scans, per probe (faiss's rule): lists count in probe order, and the
/// list that would pass the cap is cut. nq x nprobe.
std::vector<std::uint64_t> cut_by_max_codes(const Probes& probes, const std::vector<std::uint64_t>& list_rows,
                                            std::size_t first, std::size_t last, std::uint64_t max_codes);

}  // namespace ivf::detail

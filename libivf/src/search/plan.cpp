#include "search/plan.h"

#include <algorithm>
#include <utility>

namespace ivf::detail {

std::int64_t probed_list(const Probes& probes, std::size_t query, std::size_t rank) noexcept {
  return probes.lists == nullptr ? static_cast<std::int64_t>(rank) : probes.lists[query * probes.nprobe + rank];
}

double average_group(std::size_t nq, std::size_t nprobe, std::size_t nlist) noexcept {
  return nlist == 0 ? 0.0 : static_cast<double>(nq) * static_cast<double>(nprobe) / static_cast<double>(nlist);
}

SearchMode choose_mode(SearchMode asked, double avg_group) noexcept {
  if (asked != SearchMode::automatic) return asked;
  return avg_group >= csr_threshold ? SearchMode::csr : SearchMode::matrix;
}

Groups group_by_list(const Probes& probes, std::size_t nlist, std::size_t first, std::size_t last,
                     std::size_t first_rank, std::size_t last_rank) {
  Groups groups;
  groups.offsets.assign(nlist + 1, 0);
  for (std::size_t q = first; q < last; ++q) {
    for (std::size_t rank = first_rank; rank < last_rank; ++rank) {
      const std::int64_t list = probed_list(probes, q, rank);
      if (list >= 0) ++groups.offsets[static_cast<std::size_t>(list) + 1];
    }
  }
  for (std::size_t l = 0; l < nlist; ++l) groups.offsets[l + 1] += groups.offsets[l];
  groups.members.resize(groups.offsets[nlist]);
  std::vector<std::size_t> next(groups.offsets.begin(), groups.offsets.end() - 1);
  for (std::size_t q = first; q < last; ++q) {
    for (std::size_t rank = first_rank; rank < last_rank; ++rank) {
      const std::int64_t list = probed_list(probes, q, rank);
      if (list < 0) continue;
      groups.members[next[static_cast<std::size_t>(list)]++] = {static_cast<std::uint32_t>(q - first),
                                                                static_cast<std::uint32_t>(rank)};
    }
  }
  return groups;
}

std::vector<ScanTask> cut_tasks(const Groups& groups, const std::vector<std::uint64_t>& list_rows,
                                std::size_t member_block, std::uint64_t row_block) {
  std::vector<ScanTask> tasks;
  for (std::size_t list = 0; list < list_rows.size(); ++list) {
    for (std::uint64_t row = 0; row < list_rows[list]; row += row_block) {
      for (std::size_t m = groups.offsets[list]; m < groups.offsets[list + 1]; m += member_block) {
        tasks.push_back({static_cast<std::uint32_t>(list), m, std::min(m + member_block, groups.offsets[list + 1]), row,
                         std::min(row + row_block, list_rows[list])});
      }
    }
  }
  const auto cost = [](const ScanTask& t) { return (t.last_row - t.first_row) * (t.last_member - t.first_member); };
  std::stable_sort(tasks.begin(), tasks.end(), [&](const ScanTask& a, const ScanTask& b) { return cost(a) > cost(b); });
  return tasks;
}

void order_nearest_first(std::vector<ScanTask>& tasks, const Groups& groups) {
  std::vector<std::pair<std::uint32_t, ScanTask>> ranked;
  ranked.reserve(tasks.size());
  for (const ScanTask& task : tasks) {
    std::uint32_t best = groups.members[task.first_member].rank;
    for (std::size_t m = task.first_member; m < task.last_member; ++m) best = std::min(best, groups.members[m].rank);
    ranked.emplace_back(best, task);
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::transform(ranked.begin(), ranked.end(), tasks.begin(), [](const auto& one) { return one.second; });
}

std::vector<std::uint64_t> cut_by_max_codes(const Probes& probes, const std::vector<std::uint64_t>& list_rows,
                                            std::size_t first, std::size_t last, std::uint64_t max_codes) {
  const std::size_t nprobe = probes.lists == nullptr ? list_rows.size() : probes.nprobe;
  std::vector<std::uint64_t> rows((last - first) * nprobe);
  for (std::size_t q = first; q < last; ++q) {
    std::uint64_t left = max_codes;
    for (std::size_t rank = 0; rank < nprobe; ++rank) {
      const std::int64_t list = probed_list(probes, q, rank);
      const std::uint64_t scanned = list < 0 ? 0 : std::min(left, list_rows[static_cast<std::size_t>(list)]);
      rows[(q - first) * nprobe + rank] = scanned;
      left -= scanned;
    }
  }
  return rows;
}

}  // namespace ivf::detail

#pragma once
/// \file
/// What one query scans: its rows counted in probe order, cut at max_codes, and its pairs counted by list.

#include "backends/gpu/kernels.h"

#if defined(IVF_DEVICE_CODE)

namespace ivf::detail::gpu {

/// The part of ranks [begin, end) of a query's rows that belongs to a round.
struct RoundRows {
  std::uint32_t begin, end;
};
__device__ inline RoundRows rows_of_round(const Rounds& rounds, unsigned round, std::uint32_t begin,
                                          std::uint32_t end) {
  return {max(begin, round == 0 ? 0 : rounds.ends[round - 1]), min(end, rounds.ends[round])};
}

/// One warp.
__device__ inline void plan_query(const PlanArgs& a, std::uint32_t q) {
  const unsigned lane = threadIdx.x % warp_lanes;
  const std::uint32_t nprobe = a.segments.nprobe;
  const std::int32_t* lists = a.segments.lists + static_cast<std::size_t>(q) * nprobe;
  std::uint32_t* cums = a.cums + static_cast<std::size_t>(q) * (nprobe + 1);
  std::uint32_t before = 0, before_whole = 0;  // Rows of the lists before: those that are here, and all.
  for (std::uint32_t first = 0; first < nprobe; first += warp_lanes) {
    const std::uint32_t rank = first + lane;
    const std::int32_t list = rank < nprobe ? lists[rank] : -1;
    std::uint32_t size = list < 0 ? 0 : a.sizes[list];
    if (a.whole != nullptr) {
      // max_codes cuts the whole list; of what it leaves, rows before the part are not here.
      const std::uint32_t whole = list < 0 ? 0 : a.whole[list], skipped = list < 0 ? 0 : a.skipped[list];
      const std::uint32_t sum = warp_prefix(whole);
      const std::uint32_t cut = min(before_whole + sum, a.max_codes) - min(before_whole + sum - whole, a.max_codes);
      size = cut < skipped ? 0 : min(cut - skipped, size);
      before_whole += shuffle(sum, warp_lanes - 1);
    }
    const std::uint32_t sum = warp_prefix(size);
    const std::uint32_t begin = min(before + sum - size, a.max_codes), end = min(before + sum, a.max_codes);
    if (rank < nprobe) {
      cums[rank] = begin;
      for (unsigned i = 0; a.grouped && i < a.rounds.count; ++i) {
        const RoundRows rows = rows_of_round(a.rounds, i, begin, end);
        if (rows.begin >= rows.end) continue;
        a.places[(static_cast<std::size_t>(i) * a.nq + q) * nprobe + rank] =
            atomicAdd(a.histogram + static_cast<std::size_t>(i) * a.nlist + list, 1u);
      }
    }
    before += shuffle(sum, warp_lanes - 1);
  }
  if (lane != 0) return;
  const std::uint32_t rows = min(before, a.max_codes);
  cums[nprobe] = rows;
  if (a.counters != nullptr) atomicAdd(&a.counters->scanned, static_cast<unsigned long long>(rows));
}

}  // namespace ivf::detail::gpu

#endif

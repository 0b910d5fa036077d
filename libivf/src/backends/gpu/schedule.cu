// Choices that only time depends on: see docs/gpu.md for what was measured.

#include <algorithm>
#include <limits>

#include "backends/gpu/schedule.h"

namespace ivf::detail::gpu {
namespace {

constexpr std::uint64_t everything = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t score_memory = std::uint64_t{128} << 20;

std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) { return (a + b - 1) / b; }
std::uint64_t round_up(std::uint64_t n, std::uint64_t step) { return ceil_div(n, step) * step; }

/// Tiles that most lists fill: half-empty ones cost as much as full ones. Larger ones were slower (docs/gpu.md).
unsigned tile_for(double group) {
  unsigned tile = 8;
  while (tile < 128 && group >= 2 * tile) tile *= 2;
  return tile;
}

/// The same for groups of warps, whose tiles cost by what is in them; 0: lists are too seldom shared.
unsigned wide_tile_for(double group) { return group > 160 ? 128 : group > 40 ? 64 : group >= 6 ? 32 : 0; }

/// Tiles and slices of a round that scans `rows` rows of each query.
void shape_round(const Work& work, std::uint64_t rows, const Tuning& tuning, const Machine& machine, unsigned round,
                 Schedule& s) {
  const double share =
      std::min(1.0, static_cast<double>(rows) / static_cast<double>(std::max<std::uint64_t>(work.usual_rows, 1)));
  const double probes = work.nprobe == 0 ? 1 : std::max(1.0, share * static_cast<double>(work.nprobe));
  const double group = static_cast<double>(work.nq) * probes / static_cast<double>(work.nprobe == 0 ? 1 : work.nlist);
  const unsigned wide = !machine.wide || tuning.narrow ? 0
                        : tuning.query_tile != 0       ? tuning.query_tile
                                                       : wide_tile_for(group);
  const unsigned wide_tile = wide < 32 ? 0 : fitting_wide_tile(wide, work.steps, machine.shared_limit);
  const unsigned tile = wide_tile != 0 ? wide_tile
                                       : fitting_tile(tuning.query_tile != 0 ? tuning.query_tile : tile_for(group),
                                                      work.steps, machine.shared_limit);
  s.rounds.wide[round] = wide_tile != 0;
  const double lists =
      work.nprobe == 0 ? 1 : std::min(static_cast<double>(work.nlist), static_cast<double>(work.nq) * probes);
  const double tiles = std::max(lists, static_cast<double>(work.nq) * probes / tile);
  const double rows_of_list = work.nprobe == 0
                                  ? static_cast<double>(rows)
                                  : static_cast<double>(work.largest_list + work.usual_rows / work.nprobe) / 2;
  // Enough items to keep every multiprocessor busy to the end, but none so small that its beginning is felt.
  const double slices = machine.multiprocessors * 6.0 / tiles;
  constexpr std::uint64_t longest = 1 << 15;
  const std::uint64_t slice = tuning.slice_rows != 0 ? tuning.slice_rows
                              : slices <= 1          ? longest
                                                     : static_cast<std::uint64_t>(rows_of_list / slices);
  s.rounds.query_tile[round] = tile;
  s.rounds.slice_rows[round] = static_cast<unsigned>(std::clamp<std::uint64_t>(round_up(slice, 64), 64, longest));
}

}  // namespace

Schedule schedule(const Work& work, SearchMode mode, const Tuning& tuning, const Machine& machine) {
  Schedule s;
  const bool fits = work.nq * work.most_rows * sizeof(float) <= (std::uint64_t{1} << 30);
  s.matrix = mode == SearchMode::matrix || (mode == SearchMode::automatic && work.nq <= matrix_queries && fits);
  if (s.matrix) {
    s.score_rows = static_cast<std::uint32_t>(round_up(work.most_rows, 4));
    // Two waves of blocks, of 16 warps that take 8 rows at a time.
    const std::uint64_t wanted = ceil_div(work.usual_rows, 16 * group_rows);
    s.blocks = static_cast<unsigned>(
        std::clamp<std::uint64_t>(machine.multiprocessors * 4ull / work.nq, 1, std::max<std::uint64_t>(wanted, 1)));
    return s;
  }
  const std::uint64_t growth = tuning.round_growth != 0 ? tuning.round_growth : work.k <= 256 ? 24 : 8;
  std::uint64_t first = tuning.first_rows;
  if (first == 0) {
    first = std::max<std::uint64_t>(1024, work.k * 16);
    // Two rounds read a list at most twice; a third costs more than larger scores of the first.
    const std::uint64_t for_two = ceil_div(work.most_rows, growth);
    if (for_two <= 16 * 1024 && work.nq * for_two * sizeof(float) <= (std::uint64_t{1} << 30))
      first = std::max(first, for_two);
    // Where few queries share a list, memory is what a scan waits for: lists are read once.
    const double group = static_cast<double>(work.nq * work.nprobe) / static_cast<double>(work.nlist);
    const std::uint64_t all = work.nq * work.most_rows * sizeof(float);
    if (all <= (group <= 40 ? 4 * score_memory : score_memory) || work.most_rows <= 2 * first) first = work.most_rows;
  }
  first = std::min(first, work.most_rows);
  // Slices begin at whole groups of rows.
  s.score_rows = static_cast<std::uint32_t>(round_up(std::max<std::uint64_t>(first, 1), 64));
  std::uint64_t end = s.score_rows, begin = 0;
  for (unsigned round = 0; round < max_rounds; ++round) {
    const bool last = end >= work.most_rows || round + 1 == max_rounds;
    s.rounds.ends[round] = static_cast<std::uint32_t>(last ? everything : end);
    shape_round(work, (last ? work.most_rows : end) - begin, tuning, machine, round, s);
    s.rounds.count = round + 1;
    if (last) break;
    begin = end;
    end = std::min(end * growth, everything);
  }
  // What a round adds is about k times its growth, where rows come in no order; much more is rare, and what was kept
  // comes on top.
  if (s.rounds.count > 1)
    s.candidate_capacity =
        static_cast<std::uint32_t>(round_up(std::max<std::uint64_t>(1024, work.k * (4 * growth + 4)), 32));
  if (work.nprobe != 0) {
    std::uint64_t most = 0;
    for (unsigned round = 0; round < s.rounds.count; ++round) {
      const std::uint64_t tile = s.rounds.query_tile[round], slice = s.rounds.slice_rows[round];
      const std::uint64_t pairs = work.nq * work.nprobe;
      most = std::max(most, (pairs / tile + std::min(pairs, work.nlist)) *
                                ceil_div(std::max<std::uint64_t>(work.largest_list, 1), slice));
    }
    s.item_capacity = static_cast<std::uint32_t>(std::min(most, everything));
  }
  return s;
}

}  // namespace ivf::detail::gpu

#pragma once
/// \file
/// How a request is organised: per query or per list, in which rounds, tiles and slices. No device code.

#include "backends/gpu/engine.h"
#include "backends/gpu/kernels.h"

namespace ivf::detail::gpu {

/// What the schedule depends on.
struct Work {
  std::uint64_t nq = 0;
  std::uint64_t k = 0;
  std::uint64_t most_rows = 0;   ///< Rows (places) that a query scans at most.
  std::uint64_t usual_rows = 0;  ///< And on average.
  std::uint64_t nprobe = 0;      ///< 0: all rows, as one list.
  std::uint64_t nlist = 1;
  std::uint64_t largest_list = 0;  ///< Rows.
  unsigned steps = 0;
};

struct Schedule {
  bool matrix = false;
  unsigned blocks = 1;                   ///< Matrix: blocks a query.
  std::uint32_t score_rows = 0;          ///< Rows a query whose scores are kept, and their stride.
  Rounds rounds;                         ///< Round 0 keeps scores, the others filter.
  std::uint32_t candidate_capacity = 0;  ///< 0: one round.
  std::uint32_t item_capacity = 0;       ///< Of a round.
};

struct Machine {
  unsigned multiprocessors = 0;
  bool wide = false;  ///< has_wide_tiles()
  std::size_t shared_limit = 0;
};

Schedule schedule(const Work& work, SearchMode mode, const Tuning& tuning, const Machine& machine);

}  // namespace ivf::detail::gpu

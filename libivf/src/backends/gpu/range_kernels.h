#pragma once
/// \file
/// Kernels of a range search.

#include "backends/gpu/kernels.h"

namespace ivf::detail::gpu {

/// Rows of 32-bit words at some positions.
struct GatherArgs {
  const std::uint32_t* from;
  std::size_t stride, width;
  const std::uint32_t* positions;
  std::uint32_t count;
  std::uint32_t* to;  ///< count x width
};
void launch_gather(const GatherArgs& args, Stream stream);

/// Candidates [first, first + count) of a query, whose results go to places from `to` on.
struct RangeItem {
  std::uint32_t query, first, count;
  std::size_t to;
};
constexpr unsigned range_item_rows = 512;  ///< Candidates of an item at most.

/// Re-computes candidates canonically.
struct RangeArgs {
  CorpusView corpus;
  const float* queries;
  std::size_t query_stride;
  Candidates candidates;
  const RangeItem* items;
  std::uint32_t item_count;
  float radius;
  float* values;
  std::int64_t* ids;  ///< -1: the row is not within the radius.
};
void launch_range(const RangeArgs& args, Stream stream);

}  // namespace ivf::detail::gpu

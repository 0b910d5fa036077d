#pragma once
/// \file
/// What kernels see: plain structs of device pointers, and the layout of planes in device memory.
///
/// Planes are cut into blocks of 8 rows by 16 dimensions, 256 bytes each, those of the same 8 rows next to each other.
/// In a block a row has 32 contiguous bytes, whose two halves are exchanged in rows 4 to 7: so eight rows at the same
/// half lie in eight different groups of banks of shared memory, which is what matrix loads want, while a row is still
/// read in whole sectors. Dimensions are padded with zeros to a multiple of 16, lists to a multiple of 8 rows.

#include <cstddef>
#include <cstdint>

#include "backends/gpu/vendor.h"

namespace ivf::detail::gpu {

constexpr unsigned group_rows = 8;  ///< Rows of a block.
constexpr unsigned step_dims = 16;  ///< Dimensions of a block: one step of a matrix instruction.
constexpr unsigned block_values = group_rows * step_dims;

#if defined(IVF_DEVICE_CODE)
#define IVF_HD __host__ __device__
#else
#define IVF_HD
#endif

/// Where dimension i of a row lies, in values from the beginning of a plane of `steps` blocks a group.
IVF_HD inline std::size_t plane_offset(std::size_t row, unsigned i, unsigned steps) {
  const unsigned r = static_cast<unsigned>(row % group_rows);
  return ((row / group_rows) * steps + i / step_dims) * block_values + r * step_dims +
         ((((i >> 3) & 1u) ^ (r >> 2)) << 3) + (i & 7u);
}

/// A corpus. Rows count in padded positions.
struct CorpusView {
  const std::uint16_t* hi = nullptr;
  const std::uint16_t* lo = nullptr;  ///< Null when all zero.
  const float* halves = nullptr;      ///< What a product is compared with: see bounds.h. +inf: there is no such row.
  const std::int64_t* ids = nullptr;  ///< -1: there is no such row.
  const std::uint32_t* begins = nullptr;  ///< First row of each list.
  const std::uint32_t* sizes = nullptr;   ///< Rows of each list.
  const float* residuals = nullptr;       ///< Of each list: at least ‖x−x̂‖/‖x‖ of its rows.
  const float* norms = nullptr;           ///< Of each list: at least ‖x‖ of its rows that can be compared.
  std::uint32_t nlist = 0;
  unsigned d = 0, steps = 0;  ///< steps = ceil(d / 16)
  bool inner_product = false;
};

/// What the bounds need of a query (bounds.h).
struct QueryInfo {
  double square;  ///< ‖q‖²
  double norm;    ///< At least ‖q‖; infinite when the query cannot be compared.
  double flush;   ///< Absolute error that does not depend on the row.
  double slope;   ///< κ = slope + slope_residual · ρ
  double slope_residual;
};

/// A (query, list) pair of a round: the query is compared with rows [begin, end) of the list.
struct Pair {
  std::uint32_t query;
  std::uint32_t base;  ///< Rows of the query in the lists before this one.
  std::uint32_t begin, end;
};

/// Work of one block: pairs that share a list, against a slice of its rows.
struct Item {
  std::uint32_t list;
  std::uint32_t first_pair, pairs;
  std::uint32_t first_row, last_row;  ///< In the list.
};

/// Counted by kernels, for reports.
struct Counters {
  unsigned long long scanned, read, refined, candidates, overflowed;
};

/// What a query scans: ranks 0 .. nprobe-1 of its lists, of which cums[r] rows lie before rank r.
struct Segments {
  const std::int32_t* lists = nullptr;  ///< nq x nprobe
  const std::uint32_t* cums = nullptr;  ///< nq x (nprobe + 1)
  std::uint32_t nprobe = 0;             ///< 0: rows [0, whole_rows) of the corpus, as if they were one list (list 0).
  std::uint32_t whole_rows = 0;
};

/// Candidates of each query that passed a threshold.
struct Candidates {
  float2* bounds = nullptr;         ///< nq x capacity: of the score.
  std::uint32_t* rows = nullptr;    ///< nq x capacity
  std::uint32_t* counts = nullptr;  ///< nq; more than capacity: some are lost.
  float* limits = nullptr;          ///< nq: an upper bound of the k-th best score.
  std::uint32_t capacity = 0;
};

}  // namespace ivf::detail::gpu

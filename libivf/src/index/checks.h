#pragma once
/// \file
/// What is asked of a caller's matrices before any work is done on them.

#include <cstddef>
#include <cstdint>

#include "ivf/types.hpp"

namespace ivf::detail {

/// Limits of the library.
constexpr std::size_t max_dim = 65536;
constexpr std::size_t max_nlist = std::size_t{1} << 20;
constexpr std::size_t max_k = 16384;

/// Throws Error(misuse) unless the matrix has `dim` columns, a possible stride, and finite values only. `what` names
/// the rows in messages ("queries"); row numbers are reported from `first_row` on.
void check_matrix(MatrixView matrix, std::size_t dim, const char* what, unsigned threads, std::uint64_t first_row = 0);

}  // namespace ivf::detail

#include "index/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "ivf/error.hpp"
#include "parallel.h"
#include "rows.h"

namespace ivf::detail {
namespace {

/// The first row that holds a NaN or an infinity; matrix.rows when there is none.
std::size_t first_bad_row(MatrixView matrix, unsigned threads) {
  std::atomic<std::size_t> first{matrix.rows};
  const std::size_t grain = std::max<std::size_t>(1, 65536 / matrix.dim);
  parallel_for(threads, matrix.rows, grain, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t i = begin; i < end && i < first.load(std::memory_order_relaxed); ++i) {
      if (first_nonfinite(matrix.row(i), matrix.dim) == matrix.dim) continue;
      std::size_t seen = first.load(std::memory_order_relaxed);
      while (i < seen && !first.compare_exchange_weak(seen, i, std::memory_order_relaxed)) {
      }
      return;
    }
  });
  return first.load();
}

}  // namespace

void check_matrix(MatrixView matrix, std::size_t dim, const char* what, unsigned threads, std::uint64_t first_row) {
  if (matrix.dim != dim) {
    throw Error(ErrorKind::misuse,
                fmt::format("expected {} of dimension {}, found dimension {}; use data that match the index", what, dim,
                            matrix.dim));
  }
  if (matrix.rows == 0) return;
  if (matrix.data == nullptr || (matrix.rows > 1 && matrix.stride < dim)) {
    throw Error(ErrorKind::misuse,
                fmt::format("expected {} with data and a stride of at least {}, found a {} pointer and stride {}", what,
                            dim, matrix.data == nullptr ? "null" : "valid", matrix.stride));
  }
  const std::size_t row = first_bad_row(matrix, threads);
  if (row == matrix.rows) return;
  const std::size_t column = first_nonfinite(matrix.row(row), dim);
  throw Error(
      ErrorKind::misuse,
      fmt::format("expected finite values, found {} in row {}, column {} of the {}; remove or replace such values",
                  matrix.row(row)[column], first_row + row, column, what));
}

}  // namespace ivf::detail

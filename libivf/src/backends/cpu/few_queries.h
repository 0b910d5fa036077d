#pragma once
/// \file
/// Scanning rows for a few queries: vector lanes run over the dimensions of a row, several rows are in flight,
/// and rows are read where they lie. A tile of many queries would multiply mostly padding; this is bound by memory.
///
/// Included only by the files of one instruction set, which provide its vectors; everything has internal linkage.
///
/// A row's product is the sum over a few lanes of chains of fused multiply-adds, added in a tree. No product passes
/// more than d roundings, so that the error is within gamma_d of docs/numerics.md like that of any other order.
/// Dimensions past the last multiple of 32 are taken with the last 32 of the row, whose other ones meet zeros in the
/// packed query: that adds exact zeros, unless x̂ is infinite, which makes a NaN that keeps the row.

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backends/cpu/kernels.h"

namespace ivf::detail::cpu {
namespace {

/// `V` describes the vectors of a level:
///   Element           of a prepared query
///   part              dimensions of one multiply: divides 32
///   query_bytes       of `part` dimensions of a packed query, made by pack()
///   Query, Row, Sum   the registers of multiply(); `wide` sums fit beside the operands
///   sum_of_four()     horizontal sums of four registers
///   select()          appends the rows of a block whose difference is not below `bound`, for one query
///   lanes             floats of a vector of rows, for minus_infinity(), larger(), differences() and store()
template <class V>
struct FewQueries {
  static constexpr size_t step = 32;  // Dimensions: a cache line of the hi plane.
  static constexpr size_t step_bytes = step / V::part * V::query_bytes;

  static size_t query_bytes(size_t d) { return (d + step - 1) / step * step_bytes; }
  static size_t packed_bytes(size_t d) { return few_queries * query_bytes(d); }

  static void pack(const void* const* prepared, size_t nq, size_t d, void* packed) {
    for (size_t q = 0; q < nq; ++q) {
      const auto* query = static_cast<const typename V::Element*>(prepared[q]);
      char* out = static_cast<char*>(packed) + q * query_bytes(d);
      size_t i = 0;
      for (; i + step <= d; i += step, out += step_bytes) pack_step(query + i, out);
      if (i == d) continue;
      typename V::Element last[step] = {};
      memcpy(last + (d < step ? 0 : step - (d - i)), query + i, (d - i) * sizeof(typename V::Element));
      pack_step(last, out);
    }
    // A third query is multiplied beside a fourth (multiply).
    if (nq % 4 == 3) memset(static_cast<char*>(packed) + nq * query_bytes(d), 0, query_bytes(d));
  }

  static void pack_step(const typename V::Element* query, char* out) {
    for (size_t part = 0; part < step; part += V::part, out += V::query_bytes) V::pack(query + part, out);
  }

  template <size_t rows, size_t queries>
  static void multiply_step(const uint16_t* const* x, size_t i, const char* packed, size_t query_stride,
                            typename V::Sum (&sums)[rows][queries]) {
    for (size_t part = 0; part < step; part += V::part) {
      typename V::Query q[queries];
      for (size_t n = 0; n < queries; ++n)
        q[n] = V::load_query(packed + n * query_stride + part / V::part * V::query_bytes);
      for (size_t r = 0; r < rows; ++r) {
        const typename V::Row row = V::load_row(x[r] + i + part);
        for (size_t n = 0; n < queries; ++n) sums[r][n] = V::multiply(row, q[n], sums[r][n]);
      }
    }
  }

  /// dots[query][row] of `rows` rows, a multiple of four. Fetches what lies `ahead` elements behind each.
  template <size_t rows, size_t queries>
  static void multiply_group(const uint16_t* const* x, size_t d, const char* packed, size_t ahead, float* dots) {
    const size_t stride = query_bytes(d);
    typename V::Sum sums[rows][queries];
    for (size_t r = 0; r < rows; ++r) {
      for (size_t n = 0; n < queries; ++n) sums[r][n] = V::zero();
    }
    size_t i = 0;
    for (; i + step <= d; i += step, packed += step_bytes) {
      if (ahead != 0) {
        for (size_t r = 0; r < rows; ++r) _mm_prefetch(reinterpret_cast<const char*>(x[r] + i + ahead), _MM_HINT_T0);
      }
      multiply_step<rows, queries>(x, i, packed, stride, sums);
    }
    if (i < d && d > step) {
      multiply_step<rows, queries>(x, d - step, packed, stride, sums);
    } else if (i < d) {
      uint16_t part[rows][step] = {};
      const uint16_t* starts[rows];
      for (size_t r = 0; r < rows; ++r) {
        memcpy(part[r], x[r], d * sizeof(uint16_t));
        starts[r] = part[r];
      }
      multiply_step<rows, queries>(starts, 0, packed, stride, sums);
    }
    for (size_t n = 0; n < queries; ++n) {
      for (size_t r = 0; r < rows; r += 4) {
        _mm_storeu_ps(dots + n * scan_rows_max + r,
                      V::sum_of_four(sums[r][n], sums[r + 1][n], sums[r + 2][n], sums[r + 3][n]));
      }
    }
  }

  /// dots[query][row] of the block of rows from `first` on; `queries` of them, from the packed one on.
  template <size_t queries>
  static void multiply_block(const ScanArgs* args, size_t first, const char* packed, float* dots) {
    constexpr size_t group = queries == 1 ? 8 : V::wide / queries;
    static_assert(group % 4 == 0 && group * queries <= V::wide);
    const auto* base = static_cast<const uint16_t*>(args->rows_data);
    // At least 3 KiB ahead: a group of short rows is read sooner than memory answers.
    const size_t groups_ahead = 1 + 3072 / (group * args->d * sizeof(uint16_t));
    const size_t ahead = args->prefetch ? groups_ahead * group * args->d : 0;
    const size_t last = args->rows - first < scan_block_rows ? args->rows : first + scan_block_rows;
    for (size_t row = first; row < last; row += group) {
      const uint16_t* x[group];
      // The group at the end repeats the last row: nothing past it is read.
      for (size_t r = 0; r < group; ++r) x[r] = base + (row + r < last ? row + r : last - 1) * args->d;
      multiply_group<group, queries>(x, args->d, packed, ahead, dots + row);
    }
  }

  static void multiply(const ScanArgs* args, float* dots) {
    const char* packed = static_cast<const char*>(args->packed);
    const size_t stride = query_bytes(args->d);
    // A block of rows stays in the first-level cache until all queries have met it.
    for (size_t first = 0; first < args->rows; first += scan_block_rows) {
      size_t q = 0;
      if constexpr (V::wide >= 16) {
        // A third query alone would cost as much as a fourth beside it.
        for (; q + 2 < args->nq; q += 4) multiply_block<4>(args, first, packed + q * stride, dots + q * scan_rows_max);
      }
      for (; q + 2 <= args->nq; q += 2) multiply_block<2>(args, first, packed + q * stride, dots + q * scan_rows_max);
      if (q < args->nq) multiply_block<1>(args, first, packed + q * stride, dots + q * scan_rows_max);
    }
  }

  static size_t select(const ScanArgs* args, const float* dots) {
    size_t found = 0;
    for (size_t q = 0; q < args->nq; ++q) {
      for (size_t first = 0; first < args->rows; first += scan_block_rows) {
        const size_t block = first / scan_block_rows;
        const size_t rows = args->rows - first < scan_block_rows ? args->rows - first : scan_block_rows;
        const float bound = args->t[q] - (args->kappa[q] * args->block_norms[block] + args->block_slops[block]);
        found = V::select(args, first, rows, q, dots + q * scan_rows_max + first, bound, found);
      }
    }
    return found;
  }

  /// Lane j of a group of vectors takes their j-th rows.
  static size_t maxima(const ScanArgs* args, const float* dots, float* largest) {
    size_t groups = 0;
    for (size_t row = 0; row < args->rows; row += V::lanes * maxima_rows, groups += V::lanes) {
      auto best = V::minus_infinity();
      for (size_t r = row; r < args->rows && r < row + V::lanes * maxima_rows; r += V::lanes) {
        best = V::larger(best, V::differences(args, dots, r));
      }
      V::store(largest + groups, best);
    }
    return groups;
  }
};

}  // namespace
}  // namespace ivf::detail::cpu

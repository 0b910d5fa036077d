#pragma once
/// \file
/// Exact early abandoning: one query's products segment by segment, dropping rows whose product provably stays too
/// small (docs/numerics.md, "Abandoning a row"). Included only by the files of one instruction set; everything has
/// internal linkage.

#include "backends/cpu/few_queries.h"

namespace ivf::detail::cpu {
namespace {

/// Added to what is left of a squared norm: more than float32 can lose among denormals.
constexpr float abandon_spare = 0x1p-100f;

/// `V` as in few_queries.h, and
///   abandon_rows   rows in flight, a multiple of four
///   square()       adds the squares of a row's values to sums
///   keep()         compacts the rows that may still pass
template <class V>
struct AbandonRows {
  using Few = FewQueries<V>;
  static constexpr size_t group = V::abandon_rows;

  /// A piece of a row is a few cache lines, which the hardware's prefetchers do not expect. It is fetched far ahead,
  /// into the second-level cache.
  static void prefetch(const uint16_t* x, size_t elements) {
    for (size_t i = 0; i < elements; i += Few::step) _mm_prefetch(reinterpret_cast<const char*>(x + i), _MM_HINT_T1);
    _mm_prefetch(reinterpret_cast<const char*>(x + elements - 1), _MM_HINT_T1);
  }

  /// Adds the segment's products and squares of `group` rows.
  static void add(const uint16_t* const* x, size_t d, const AbandonSegment& segment, const char* packed, float* dots,
                  float* squares) {
    typename V::Sum sums[group][1], norms[group];
    for (size_t r = 0; r < group; ++r) sums[r][0] = norms[r] = V::zero();
    packed += segment.first_step * Few::step_bytes;
    for (size_t s = segment.first_step; s < segment.last_step; ++s, packed += Few::step_bytes) {
      const bool whole = (s + 1) * Few::step <= d;
      const size_t i = whole ? s * Few::step : d - Few::step;
      Few::template multiply_step<group, 1>(x, i, packed, 0, sums);
      // The last step overlaps the one before: its squares are left out, which only loosens the bound.
      if (!whole) continue;
      for (size_t part = 0; part < Few::step; part += V::part) {
        for (size_t r = 0; r < group; ++r) norms[r] = V::square(V::load_row(x[r] + i + part), norms[r]);
      }
    }
    for (size_t r = 0; r < group; r += 4) {
      _mm_storeu_ps(dots + r, _mm_add_ps(_mm_loadu_ps(dots + r),
                                         V::sum_of_four(sums[r][0], sums[r + 1][0], sums[r + 2][0], sums[r + 3][0])));
      _mm_storeu_ps(squares + r, _mm_add_ps(_mm_loadu_ps(squares + r),
                                            V::sum_of_four(norms[r], norms[r + 1], norms[r + 2], norms[r + 3])));
    }
  }

  static size_t multiply(const ScanArgs* args, const AbandonArgs* plan, float* dots) {
    HopefulRows hopeful;
    const auto* base = static_cast<const uint16_t*>(args->rows_data);
    const char* packed = static_cast<const char*>(args->packed);
    const size_t d = args->d;
    for (size_t block = 0; block * scan_block_rows < args->rows; ++block) {
      hopeful.bounds[block] = args->t[0] - (args->kappa[0] * args->block_norms[block] + args->block_slops[block]);
    }
    // Whole vectors are read: past the last row they hold valid numbers too.
    for (size_t r = 0; r < args->rows + max_lanes; ++r) {
      hopeful.rows[r] = r < args->rows ? static_cast<int32_t>(r) : 0;
      hopeful.dots[r] = hopeful.squares[r] = 0;
    }
    for (size_t r = 0; r < args->rows; ++r) dots[r] = -__builtin_inff();
    size_t count = args->rows, read = 0;
    for (size_t j = 0; j < plan->segments && count > 0; ++j) {
      const AbandonSegment& segment = plan->order[j];
      const size_t first = segment.first_step * Few::step;
      const size_t last = segment.last_step * Few::step < d ? segment.last_step * Few::step : d;
      const auto piece = [&](size_t i) {
        return base + static_cast<size_t>(hopeful.rows[i < count ? i : count - 1]) * d;
      };
      constexpr size_t ahead = 6 * group;
      for (size_t i = 0; i < ahead && i < count; ++i) prefetch(piece(i) + first, last - first);
      for (size_t i = 0; i < count; i += group) {
        const uint16_t* x[group];
        for (size_t r = 0; r < group; ++r) x[r] = piece(i + r);
        for (size_t r = i + ahead; r < count && r < i + ahead + group; ++r) prefetch(piece(r) + first, last - first);
        add(x, d, segment, packed, hopeful.dots + i, hopeful.squares + i);
      }
      read += count * (last - first);
      if (j + 1 < plan->segments) count = V::keep(args, *plan, segment.rest, hopeful, count);
    }
    for (size_t i = 0; i < count; ++i) dots[hopeful.rows[i]] = hopeful.dots[i];
    return read;
  }
};

}  // namespace
}  // namespace ivf::detail::cpu

#pragma once
/// \file
/// What an instruction-set level provides: plain functions over raw pointers, chosen once at run time.
///
/// Included by files that are compiled with flags of their own, so it holds declarations and plain structs only: an
/// inline function here could be emitted with AVX-512 and win at link time for everybody.

#include <stddef.h>
#include <stdint.h>

namespace ivf::detail::cpu {

/// Rows of a block share one norm bound in a scan.
constexpr size_t scan_block_rows = 32;
/// Largest number of queries in a packed tile, over all levels.
constexpr size_t max_tile = 64;
/// Rows of one scan call at most: bounds the survivors of a call to scan_rows_max * tile.
constexpr size_t scan_rows_max = 1024;

/// Queries that are scanned without a tile: see FewKernels.
constexpr size_t few_queries = 8;

/// Rows of a group whose best product sets a first threshold.
constexpr size_t maxima_rows = 4;

/// Queries of one tile against contiguous rows. A survivor is a (row, query) whose approximate dot product D is not
/// provably too small:  !(D < half_norms[row] + t[query] - kappa[query] * block_norms[row / 32] - block_slops[row /
/// 32]). The negated comparison keeps whatever is NaN.
struct ScanArgs {
  const void* rows_data;  ///< The rows from stage(), or the hi plane itself when `staged` is false.
  bool staged;
  size_t rows;  ///< 1 .. scan_rows_max; whole blocks of 32 can be read.
  size_t d;
  bool prefetch;             ///< The rows have not been read before: fetch them ahead.
  const void* packed;        ///< From pack(), for `nq` queries.
  size_t nq;                 ///< 1 .. tile
  const float* half_norms;   ///< rows (L2), or zeros (inner product); whole blocks of 32 can be read.
  const float* block_norms;  ///< One per 32 rows: at least the norm of each.
  const float* block_slops;  ///< One per 32 rows: absolute slack.
  const float* t;            ///< tile; lanes past nq are never reported.
  const float* kappa;        ///< tile
  void* scratch;             ///< scan_scratch_bytes, 64-byte aligned.
  float* dots;               ///< Out: D of each survivor; room like `tags`.
  uint32_t* tags;            ///< Out: row * max_tile + query lane. Room for rows * nq + 16: whole vectors are stored.
};

/// Of ScanArgs::scratch: the products of 32 rows and 32 queries, twice.
constexpr size_t scan_scratch_bytes = 8192;

/// Canonical values of one query against chosen rows.
struct RefineArgs {
  const float* query;
  const uint16_t* hi;  ///< Planes of all rows.
  const uint16_t* lo;  ///< Null when all zero.
  size_t d;
  const uint64_t* rows;  ///< count row numbers
  size_t count;
  float* values;  ///< Out: count
};

/// Canonical values of pairs of float32 rows.
struct PairArgs {
  const float* const* left;
  const float* const* right;
  size_t d;
  size_t count;
  float* values;  ///< Out: count
};

/// Conversions and canonical arithmetic. Every level gives the same bits.
struct RowKernels {
  /// See rows.h. `split` returns whether every lo is zero.
  bool (*split)(const float* rows, size_t count, uint16_t* hi, uint16_t* lo);
  void (*join)(const uint16_t* hi, const uint16_t* lo, size_t count, float* rows);
  /// Canonical sums, unrounded: x·x, and of the bf16 residual with itself.
  double (*self_dot)(const float* x, size_t d);
  void (*residual)(const float* x, size_t d, double* residual, double* norm);
  void (*refine_l2)(const RefineArgs*);
  void (*refine_ip)(const RefineArgs*);
  void (*pairs_l2)(const PairArgs*);
  void (*pairs_ip)(const PairArgs*);
  /// For each of `lanes` (1 .. max_tile) columns of `count` values, values[i * stride + lane], a number that at least k
  /// of them reach, close below the k-th largest. 1 <= k <= count. Not the same at every level: for thresholds only.
  void (*kth_largest)(const float* values, size_t count, size_t stride, size_t lanes, size_t k, float* bound);
};

/// The filter: approximate dot products in the fastest arithmetic of the level. The survivors differ between levels.
struct ScanKernels {
  size_t tile;          ///< Queries in a packed tile.
  bool rounds_queries;  ///< The scan multiplies queries rounded to bf16.
  /// A query as pack() wants it, made once a search: prepared_bytes(d), 64-byte aligned.
  size_t (*prepared_bytes)(size_t d);
  void (*prepare)(const float* query, size_t d, void* prepared);
  size_t (*packed_bytes)(size_t d);
  /// Rows in the form that scan() multiplies, made once for all tiles that meet them: staged_bytes(d) a row, 64-byte
  /// aligned, for a number of rows rounded up to 32. A slice may start at any multiple of 32 rows of a staged block.
  size_t (*staged_bytes)(size_t d);
  void (*stage)(const uint16_t* hi, size_t rows, size_t d, void* staged);
  /// Whether scan() can read the plane where it lies (in whole blocks of 32 rows).
  bool (*direct)(const uint16_t* hi, size_t d);
  /// Packs nq prepared queries (1 .. tile) given by pointers.
  void (*pack)(const void* const* prepared, size_t nq, size_t d, void* packed);
  /// Returns the number of survivors.
  size_t (*scan)(const ScanArgs*);
  /// The largest D - half_norms[row] of every group of `maxima_rows` rows (the last may be smaller), for each lane:
  /// maxima[group * tile + lane]. Thresholds are not read. Lanes past nq hold anything.
  void (*maxima)(const ScanArgs*, float* maxima);
};

/// Consecutive dimensions of a query, in steps of 32.
struct AbandonSegment {
  size_t first_step, last_step;
  float rest;  ///< At least the norm of the multiplied query in the segments after this one.
};

/// Segments that are worth a look at most.
constexpr size_t abandon_segments = 32;

/// How the product of one query is taken in segments, those where the query is long first.
struct AbandonArgs {
  const float* norms;  ///< Stored squared norms of the rows.
  float scale;  ///< scale * norms[row] is at least the squared norm of the row's operand and all rounding errors.
  size_t segments;
  AbandonSegment order[abandon_segments];
};

constexpr size_t max_lanes = 16;

/// Rows that may still pass, packed together.
struct HopefulRows {
  int32_t rows[scan_rows_max + max_lanes];
  float dots[scan_rows_max + max_lanes];     ///< Of the segments so far.
  float squares[scan_rows_max + max_lanes];  ///< Squared norms of the segments so far.
  float bounds[scan_rows_max / scan_block_rows];
};

/// The same filter for at most few_queries queries, which would leave a tile all but empty. Rows are read in the plane
/// where they lie (`staged` is false), at any alignment, and nothing past the last one is. Queries are prepared by the
/// ScanKernels of the level.
struct FewKernels {
  size_t (*packed_bytes)(size_t d);
  void (*pack)(const void* const* prepared, size_t nq, size_t d, void* packed);
  /// dots[query * scan_rows_max + row] of all rows. Reads no thresholds.
  void (*multiply)(const ScanArgs*, float* dots);
  /// The same for one query with a threshold, but -inf for rows that provably are no survivors, as soon as that is
  /// known; d is at least 64. Returns the number of dimensions read, over all rows.
  size_t (*multiply_abandoning)(const ScanArgs*, const AbandonArgs*, float* dots);
  /// The survivors among the products, in the order of the queries; returns their number.
  size_t (*select)(const ScanArgs*, const float* dots);
  /// The largest D - half_norms[row] of each of several groups of at most `maxima_rows` rows of one query, from its
  /// products; returns their number, at most scan_rows_max / maxima_rows. A group without rows holds -inf.
  size_t (*maxima)(const ScanArgs*, const float* dots, float* maxima);
};

/// A level that can be named by IVF_ISA.
struct Kernels {
  const char* level;
  const RowKernels* rows;
  const ScanKernels* scan;
  const FewKernels* few;  ///< Null: the level has none.
  /// Queries of a list, at most few_queries, up to which `few` beats a tile (measured: docs/simd.md).
  size_t few_limit;
};

extern const RowKernels rows_scalar;
extern const ScanKernels scan_scalar;
#if defined(__x86_64__)
extern const RowKernels rows_avx2, rows_avx512;
extern const ScanKernels scan_avx2, scan_avx512, scan_bf16, scan_amx;
extern const FewKernels few_avx2, few_avx512, few_bf16;
#elif defined(__aarch64__)
extern const RowKernels rows_neon;
extern const ScanKernels scan_neon;
#endif

/// The highest level that this machine runs, whatever IVF_ISA says; for conversions, whose results do not depend on it.
const Kernels& best_kernels() noexcept;
/// Asks the kernel once for permission to use AMX tiles, and reports whether it was given.
bool amx_permitted() noexcept;

}  // namespace ivf::detail::cpu

#pragma once
/// \file
/// Arguments of the kernels and the functions that launch them. No launch waits for the device.

#include "backends/gpu/views.h"

namespace ivf::detail::gpu {

/// Where a row goes.
struct UploadPlace {
  std::uint32_t place;  ///< no_place: nowhere.
  std::uint32_t list;
  std::uint32_t origin;  ///< Its number in the sets of rows that filters give.
};
constexpr std::uint32_t no_place = 0xffffffffu;

/// Rows of a segment, row-major, being brought into a corpus.
struct UploadArgs {
  const std::uint16_t* hi;
  const std::uint16_t* lo;  ///< Null: zero.
  const float* squares;     ///< Stored squared norms.
  const std::int64_t* ids;  ///< -1: the row is hidden.
  const UploadPlace* places;
  std::uint32_t rows;
  unsigned d, steps;
  bool inner_product;
  std::uint16_t* to_hi;
  std::uint16_t* to_lo;  ///< Null: the corpus has none.
  float* to_halves;
  std::int64_t* to_ids;
  std::uint32_t* to_origins;
  unsigned* to_norms;  ///< Bits of the largest norm of each list.
  unsigned* to_norm;   ///< The same of all rows.
};
void launch_upload(const UploadArgs& args, Stream stream);
/// Marks places [0, rows) as empty, before upload.
void launch_clear_rows(float* halves, std::int64_t* ids, std::uint32_t rows, Stream stream);

/// Copies what says that a place has a row, but not for the rows of a set.
struct HideArgs {
  const float* halves;
  const std::int64_t* ids;
  const std::uint32_t* origins;
  const std::uint64_t* hidden;  ///< Bits, by origin.
  std::uint32_t places;
  float* to_halves;
  std::int64_t* to_ids;
};
void launch_hide(const HideArgs& args, Stream stream);

/// Rounds queries to bf16, rows of `steps` * 16 values, and describes them.
struct PrepareArgs {
  const float* queries;
  std::size_t stride;
  std::uint32_t nq;
  unsigned d, steps;
  std::uint16_t* rounded;
  QueryInfo* info;
  std::uint32_t* zeros;  ///< Memory to be cleared on the way.
  std::size_t zero_count;
};
void launch_prepare(const PrepareArgs& args, Stream stream);

struct SumsArgs {
  const float* rows;
  std::size_t stride, count, d;
  const std::int32_t* lists;
  double magic;
  unsigned long long* sums;
  unsigned long long* sizes;
};
void launch_sums(const SumsArgs& args, Stream stream);

/// Rounds of a scan: round i takes the rows of each query from ends[i - 1] (0) to ends[i], counted in probe order.
constexpr unsigned max_rounds = 6;
struct Rounds {
  unsigned count = 0;
  std::uint32_t ends[max_rounds] = {};
  unsigned query_tile[max_rounds] = {};  ///< Pairs of a work item.
  bool wide[max_rounds] = {};            ///< Scanned by launch_wide_tiles().
  unsigned slice_rows[max_rounds] = {};  ///< Rows of a work item.
};

/// What a query scans, and the grouping of its pairs by list.
struct PlanArgs {
  Segments segments;             ///< lists are read, cums are written.
  std::uint32_t* cums;           ///< The same cums.
  const std::uint32_t* sizes;    ///< Rows of each list.
  const std::uint32_t* whole;    ///< Of a part of a corpus: rows of each list in the corpus. Null: the lists are whole.
  const std::uint32_t* skipped;  ///< And of these, rows before those of the part.
  std::uint32_t nlist;
  std::uint32_t nq;
  std::uint32_t max_codes;  ///< 0xffffffff: no limit.
  bool grouped;             ///< Count pairs; needs what follows.
  Rounds rounds;
  std::uint32_t* histogram;    ///< rounds x nlist, zero: pairs of each list.
  std::uint32_t* places;       ///< rounds x nq x nprobe: of a pair among those of its list.
  std::uint32_t* pair_begins;  ///< rounds x nlist
  Pair* pairs;                 ///< rounds x nq x nprobe
  Item* items;                 ///< rounds x item_capacity
  std::uint32_t item_capacity;
  std::uint32_t* item_counts;  ///< rounds
  Counters* counters;          ///< May be null.
};
/// Counts rows and pairs of every query.
void launch_plan(const PlanArgs& args, Stream stream);
/// After the pairs were counted: places them and cuts work items.
void launch_group(const PlanArgs& args, Stream stream);

struct TileArgs {
  CorpusView corpus;
  const std::uint16_t* queries;  ///< From launch_prepare.
  const QueryInfo* info;
  std::uint32_t nq;
  const Item* items;  ///< Null: all queries against rows [first, last) of list 0.
  const std::uint32_t* item_count;
  const Pair* pairs;
  std::uint32_t first, last, slice_rows;  ///< Without items.
  std::uint32_t* ticket;                  ///< Zero.
  float* scores;                          ///< Not null: upper bounds of all scores are written, nq x score_stride.
  std::size_t score_stride;
  Candidates candidates;  ///< Otherwise: what passes the limits is appended.
  unsigned query_tile;    ///< From fitting_tile().
  unsigned multiprocessors;
  std::size_t shared_limit;  ///< Bytes of shared memory that a block may have.
};
void launch_tiles(const TileArgs& args, Stream stream);
/// The largest tile up to `wanted` whose shared memory fits; 8 fits every device.
unsigned fitting_tile(unsigned wanted, unsigned steps, std::size_t shared_limit);

/// The same by groups of warps, on devices that has_wide_tiles() names.
void launch_wide_tiles(const TileArgs& args, Stream stream);
/// Whether devices of this compute capability have them, and the kernels were compiled for it.
bool has_wide_tiles(int major);
/// The largest tile of 32, 64 or 128 queries up to `wanted` that fits, or the smallest; 0: none does.
unsigned fitting_wide_tile(unsigned wanted, unsigned steps, std::size_t shared_limit);

/// Ends queries, or sets their limits between rounds.
struct FinishArgs {
  CorpusView corpus;
  Segments segments;
  const float* queries;
  std::size_t query_stride;
  const QueryInfo* info;  ///< Null in launch_matrix, which computes it.
  std::uint32_t nq;
  const float* scores;  ///< Not null: the source is the first `score_rows` upper bounds of each query.
  std::size_t score_stride;
  std::uint32_t score_rows;
  Candidates candidates;  ///< The source otherwise; the destination of launch_limits.
  unsigned k;
  unsigned capacity;       ///< Survivors of a query in shared memory; a power of two of at least 2k.
  unsigned cached_scores;  ///< Scores that are kept in shared memory between two looks at them; 0: none, or all.
  float* values;           ///< nq x k, or null
  std::int64_t* ids;
  std::int32_t* lists;
  Counters* counters;         ///< May be null.
  std::uint32_t* rest;        ///< nq: queries whose survivors did not fit; with many queries.
  std::uint32_t* rest_count;  ///< Zero.
  bool as_set;                ///< The k best in any order will do, and no values: then only rows in doubt are
                              ///< re-computed, where a single warp ends a query.
  bool plan;                  ///< Then plan the scan of the lists that were found.
  PlanArgs next;
};
/// Finds the limit of each query and keeps the candidates within it.
void launch_limits(const FinishArgs& args, bool many_queries, Stream stream);
/// Re-computes survivors canonically and writes sorted results.
void launch_finish(const FinishArgs& args, bool many_queries, Stream stream);

/// A few queries: scans all their rows with `blocks` blocks a query and finishes, in one launch.
struct MatrixArgs {
  FinishArgs finish;       ///< With scores, and queries in float32.
  float* scores;           ///< finish.scores
  std::uint32_t* tickets;  ///< nq, zero; left zero.
  unsigned blocks;
};
void launch_matrix(const MatrixArgs& args, Stream stream);

/// FinishArgs::cached_scores of a finish after one round: all where every query has a multiprocessor to itself and they
/// fit its shared memory, or 0.
unsigned cacheable_scores(const FinishArgs& args, unsigned multiprocessors, std::size_t shared_limit);

/// FinishArgs::capacity for k results: survivors of a query that fit.
unsigned finish_capacity(unsigned k, bool many_queries);

/// Throws Error(failed) naming the kernel when a launch was refused.
void check_launch(const char* kernel);
void check_status(Status status, const char* what);

#if defined(IVF_DEVICE_CODE)
/// Lets a kernel have so many bytes of shared memory; the first 48 KiB need no leave.
template <class Kernel>
void allow_shared(Kernel kernel, std::size_t bytes) {
  if (bytes <= 48 * 1024) return;
  check_status(IVF_GPU(FuncSetAttribute)(reinterpret_cast<const void*>(kernel),
                                         IVF_GPU(FuncAttributeMaxDynamicSharedMemorySize), static_cast<int>(bytes)),
               "shared memory");
}
#endif

}  // namespace ivf::detail::gpu

#pragma once
/// \file
/// The one primitive that every backend provides: canonical top-k (or everything within a radius) of queries over row
/// ranges. Flat search, coarse quantisation, k-means assignment, list scanning and ground truth are expressed on it.

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "ivf/device.hpp"
#include "ivf/format/container.hpp"
#include "ivf/index.hpp"
#include "kmeans/fixed_point.h"

namespace ivf::detail {

/// What a backend keeps of a corpus where it computes. Made by Backend::load().
class Resident {
 public:
  virtual ~Resident() = default;
};

/// Rows grouped in lists, in one or more segments. List l is the concatenation over the segments, in order, of their
/// ranges.
struct Corpus {
  std::size_t dim = 0;
  bool inner_product = false;  ///< Compare by inner product (IP, cosine) instead of squared L2.
  std::size_t nlist = 1;
  /// `ids` of a segment may be empty: the row's position counted over all segments is then its id (centroids).
  std::vector<format::SegmentView> segments;
  std::uint64_t rows = 0;  ///< Stored, the removed ones counted in.
  /// Rows that this request must not find, one set a segment (ivf/format/row_bits.hpp), the removed ones among them.
  /// Empty: the removed ones. Only those do not count for max_codes.
  std::vector<std::span<const std::uint64_t>> hidden;
  std::shared_ptr<const Resident> resident;  ///< Null: a backend that needs it loads the corpus for the call.

  std::span<const std::uint64_t> hidden_in(std::size_t segment) const noexcept {
    return hidden.empty() ? segments[segment].removed : hidden[segment];
  }
};

/// The lists that each query looks at, in scan order.
struct Probes {
  const std::int32_t* lists = nullptr;  ///< nq x nprobe; -1: none. Null: every query scans list 0 .. nlist-1 in order.
  const float* bounds =
      nullptr;  ///< nq x nprobe, at most the canonical score of query and centroid, for pruning; may be null.
  std::size_t nprobe = 0;
};

/// Queries that were brought to where a backend computes, with room there for k results of each.
class HeldQueries {
 public:
  virtual ~HeldQueries() = default;
  /// What topk() last found for them, rows x k each; waits for it.
  virtual void fetch(float* values, idx_t* ids) const = 0;
};

/// What is asked of the primitive. Queries are finite, and already normalised for cosine.
struct ScanRequest {
  const Corpus* corpus = nullptr;
  MatrixView queries;
  /// In place of `queries`, of which only the numbers are then looked at: queries that topk() is given no place for the
  /// results of, and of whose work it counts nothing.
  HeldQueries* held = nullptr;
  Probes probes;
  /// In place of `probes`, for a backend that probes(): the centroids, of which each query's canonical top
  /// `coarse_nprobe` are looked at. The lists then never leave the device.
  const Corpus* coarse = nullptr;
  std::size_t coarse_nprobe = 0;
  std::uint64_t max_codes = 0;  ///< 0: no limit.
  SearchMode mode = SearchMode::automatic;
  bool profile = false;          ///< SearchParams::profile
  unsigned threads = 1;          ///< Resolved: at least 1.
  std::uint64_t max_memory = 0;  ///< Resolved: workspace in bytes.
  const Progress* progress = nullptr;
};

/// Variable-length results of a range scan: one vector a query, in no particular order of queries' work but each
/// sorted.
struct RangeHits {
  std::vector<std::vector<std::pair<float, idx_t>>> hits;
};

/// Rows kept where a backend computes, for work that is repeated on them (k-means). The rows that were given stay
/// alive and unchanged as long as this does. Used by one thread at a time.
class HeldRows {
 public:
  virtual ~HeldRows() = default;

  /// The canonical nearest centroid of each row (smallest id on a tie), and its value: one of each a row. `centroids`
  /// is a corpus of one list. The result is remembered, and makes the next call faster when that has as many centroids,
  /// most of them close to these.
  virtual void assign(const Corpus& centroids, std::int32_t* list, float* value) = 0;

  /// Brings the lists' fixed-point sums (nlist x dim, modulo 2^64) and sizes from the assignment `before` to the
  /// assignment `after`. `before` may be null: sums and sizes are then overwritten. Sums are integers, so that taking
  /// out the rows that left a list and adding those that came gives exactly what adding all of its rows would.
  virtual void update_sums(const FixedPoint& fixed, std::size_t nlist, const std::int32_t* before,
                           const std::int32_t* after, std::uint64_t* sums, std::uint64_t* sizes) = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const noexcept = 0;  ///< "native" or "torch"
  virtual std::string_view isa() const noexcept = 0;
  /// Where it computes.
  virtual DeviceInfo device() const = 0;
  virtual DevicePeak measure_peak() const { return {}; }
  /// Whether topk() and range() take ScanRequest::coarse.
  virtual bool probes() const noexcept { return false; }
  /// Brings a corpus to where the backend computes; null when it reads the host's memory. Throws Error(failed) with the
  /// numbers when it does not fit, before anything is allocated.
  virtual std::shared_ptr<const Resident> load(const Corpus&) { return nullptr; }

  /// Keeps queries, and k results of each, where the backend computes. Null when that is in the host's memory, or when
  /// the backend takes queries from there only.
  virtual std::unique_ptr<HeldQueries> hold_queries(MatrixView, std::size_t /*k*/) { return nullptr; }

  /// Canonical top-k of each query over its probed lists. `values` and `ids` are nq x k, row-major; missing results are
  /// id -1 with +inf / -inf. Statistics are added to `stats`.
  virtual void topk(const ScanRequest& request, std::size_t k, float* values, idx_t* ids, SearchStats& stats) = 0;

  /// The canonical top-k of each query as a set, for probing: `lists` (nq x k) are ids, nearest first as far as the
  /// filter's bounds can tell, -1 where there are fewer; `bounds` (nq x k) are at most the canonical scores (squared
  /// distance, or negated inner product). Cheaper than topk(): only rows whose membership is in doubt are re-computed.
  virtual void probe(const ScanRequest& request, std::size_t k, std::int32_t* lists, float* bounds,
                     SearchStats& stats) = 0;

  /// All rows whose value is < radius (L2) or > radius (inner product).
  virtual RangeHits range(const ScanRequest& request, float radius, SearchStats& stats) = 0;

  /// The canonical nearest centroid of each row (smallest id on a tie), and its value. `centroids` is a corpus of one
  /// list.
  virtual void assign(const Corpus& centroids, MatrixView rows, std::int32_t* list, float* value, unsigned threads) = 0;

  /// Keeps rows for repeated work with `threads` threads and at most `max_memory` bytes besides the rows themselves (0:
  /// the backend's own limit). The backend must outlive the result.
  virtual std::unique_ptr<HeldRows> hold(MatrixView rows, unsigned threads, std::uint64_t max_memory) = 0;
};

/// The native CPU backend at the level that the machine and IVF_ISA allow. Throws Error(misuse) when IVF_ISA names a
/// level that is unknown or that this machine lacks.
Backend& cpu_backend();

/// Names of the levels that this machine can run, slowest first ("scalar", "avx2", ...).
std::vector<std::string_view> cpu_levels();
/// The backend at a given level, for tests and benchmarks.
Backend& cpu_backend_at(std::string_view level);

}  // namespace ivf::detail

#pragma once
/// \file
/// The one primitive that every backend provides: canonical top-k (or everything within a radius) of queries over row
/// ranges. Flat search, coarse quantisation, k-means assignment, list scanning and ground truth are expressed on it.

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "ivf/format/container.hpp"
#include "ivf/index.hpp"

namespace ivf::detail {

/// Rows grouped in lists, in one or more segments. List l is the concatenation over the segments, in order, of their
/// ranges.
struct Corpus {
  std::size_t dim = 0;
  bool inner_product = false;  ///< Compare by inner product (IP, cosine) instead of squared L2.
  std::size_t nlist = 1;
  /// `ids` of a segment may be empty: the row's position counted over all segments is then its id (centroids).
  std::vector<format::SegmentView> segments;
  std::uint64_t rows = 0;
};

/// The lists that each query looks at, in scan order.
struct Probes {
  const std::int32_t* lists = nullptr;  ///< nq x nprobe; -1: none. Null: every query scans list 0 .. nlist-1 in order.
  const float* bounds =
      nullptr;  ///< nq x nprobe, at most the canonical score of query and centroid, for pruning; may be null.
  std::size_t nprobe = 0;
};

/// What is asked of the primitive. Queries are finite, and already normalised for cosine.
struct ScanRequest {
  const Corpus* corpus = nullptr;
  MatrixView queries;
  Probes probes;
  std::uint64_t max_codes = 0;  ///< 0: no limit.
  SearchMode mode = SearchMode::automatic;
  unsigned threads = 1;          ///< Resolved: at least 1.
  std::uint64_t max_memory = 0;  ///< Resolved: workspace in bytes.
  const Progress* progress = nullptr;
  /// With k = 1 and a corpus of one segment: a likely answer per query (a row), which only makes the search faster. May
  /// be null.
  const std::int32_t* hints = nullptr;
};

/// Variable-length results of a range scan: one vector a query, in no particular order of queries' work but each
/// sorted.
struct RangeHits {
  std::vector<std::vector<std::pair<float, idx_t>>> hits;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const noexcept = 0;
  virtual std::string_view isa() const noexcept = 0;

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
  /// list. `hint`, when not null, holds a likely answer per row (the last iteration's), which only makes it faster.
  virtual void assign(const Corpus& centroids, MatrixView rows, const std::int32_t* hint, std::int32_t* list,
                      float* value, unsigned threads) = 0;
};

/// The native CPU backend at the level that the machine and IVF_ISA allow. Throws Error(misuse) when IVF_ISA names a
/// level that is unknown or that this machine lacks.
Backend& cpu_backend();

/// Names of the levels that this machine can run, slowest first ("scalar", "avx2", ...).
std::vector<std::string_view> cpu_levels();
/// The backend at a given level, for tests and benchmarks.
Backend& cpu_backend_at(std::string_view level);

}  // namespace ivf::detail

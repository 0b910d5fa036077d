#pragma once
/// \file
/// The native GPU engine: canonical top-k of queries over row ranges, on one device, for CUDA and HIP.
///
/// Plain C++: no header of a device toolkit and none of LibTorch. Work is put on a stream and not waited for, unless
/// results go to host memory or a report is asked for. docs/gpu.md describes how it works.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"

namespace ivf::detail::gpu {

/// Sets of rows, one a segment, as Corpus::hidden has them.
using HiddenRows = std::span<const std::span<const std::uint64_t>>;

/// A stream of the device toolkit (cudaStream_t, hipStream_t); null is the default stream.
using StreamHandle = void*;

/// Where device memory comes from. Memory is used on the stream that it was allocated for.
class Allocator {
 public:
  virtual ~Allocator() = default;
  /// At least `bytes` (not 0), aligned to 256. Throws when there is not enough.
  virtual void* allocate(std::size_t bytes, StreamHandle stream) = 0;
  /// Takes memory back; work that is already on the stream may still use it.
  virtual void release(void* memory, StreamHandle stream) noexcept = 0;
};

/// The toolkit's own stream-ordered pool, for programs that have no allocator.
Allocator& pool_allocator();

struct DeviceInfo {
  std::string name;
  int multiprocessors = 0;
  std::uint64_t memory = 0;       ///< Bytes.
  std::uint64_t free_memory = 0;  ///< Bytes, now.
  int major = 0, minor = 0;       ///< Compute capability.
};

/// Devices that can be used; 0 when there is no driver.
int device_count() noexcept;
/// Throws Error(misuse) when there is no such device.
DeviceInfo device_info(int device);

/// A matrix of float32 in host or device memory.
struct Rows {
  const float* data = nullptr;
  std::size_t rows = 0;
  std::size_t stride = 0;  ///< In floats; 0: the dimension.
  bool on_device = false;
};

/// Rows of a corpus, counted in the order of the lists (those of list 0 over all segments, then those of list 1, ...),
/// the removed ones left out.
struct Part {
  std::uint64_t first_row = 0;
  std::uint64_t last_row = std::numeric_limits<std::uint64_t>::max();  ///< Past the last.
};

/// A corpus in device memory, or a part of one. Lists are contiguous, each begins at a multiple of 8 rows. The lists of
/// a part keep their numbers, and max_codes still cuts the whole lists: a search over every part, merged by (value,
/// id), is the search over the whole.
class DeviceCorpus {
 public:
  struct Impl;
  explicit DeviceCorpus(std::unique_ptr<Impl> impl) noexcept;
  ~DeviceCorpus();
  DeviceCorpus(const DeviceCorpus&) = delete;
  DeviceCorpus& operator=(const DeviceCorpus&) = delete;
  const Impl& impl() const noexcept { return *impl_; }
  std::uint64_t bytes() const noexcept;  ///< Of device memory; for what hide() returned, those that it does not share.
  std::uint64_t rows() const noexcept;   ///< That are there: in this part, and not removed.

 private:
  std::unique_ptr<Impl> impl_;
};

/// How a scan is organised. Results do not depend on any of it.
struct Tuning {
  unsigned first_rows = 0;      ///< Rows a query whose scores are all kept, to set its threshold; 0: from k.
  unsigned round_growth = 0;    ///< Rows of a round over those before it at most; 0: 16.
  unsigned query_tile = 0;      ///< Queries of a tile: 8, 16, 32, 64, 128, 256; 0: from the average group.
  unsigned slice_rows = 0;      ///< Rows of a work item at most; 0: so that the device is full.
  bool narrow = false;          ///< Without groups of warps, where the device has them.
  unsigned range_rows = 0;      ///< Rows a query that a range search has room for at first; 0: from the workspace.
  std::uint64_t workspace = 0;  ///< Bytes; 0: 2 GiB. Larger requests are done in batches.
};

/// What a call did. Asking for it waits for the device.
struct Report {
  struct Phase {
    const char* name;
    float ms;
  };
  std::vector<Phase> phases;  ///< Device time from events, in order, over all batches; see SearchOptions::timed.
  SearchMode mode = SearchMode::matrix;  ///< What ran.
  std::uint64_t rows_scanned = 0;        ///< (query, row) pairs that were looked at.
  std::uint64_t bytes_read = 0;          ///< Of hi planes, by the scan: a list's once a tile of queries.
  std::uint64_t rows_refined = 0;        ///< (query, row) pairs re-computed canonically.
  std::uint64_t candidates = 0;          ///< (query, row) pairs that passed a threshold in the scans.
  std::uint64_t queries_overflowed = 0;  ///< Queries whose candidates did not fit, and that were done canonically.
};

/// Lists of each query, nq x nprobe; -1: none. Null: every row of the corpus.
struct ProbeLists {
  const std::int32_t* lists = nullptr;
  std::size_t nprobe = 0;
  bool on_device = false;
};

/// Results, each nq x k or null.
struct Results {
  float* values = nullptr;
  std::int64_t* ids = nullptr;
  std::int32_t* lists = nullptr;  ///< The ids as 32-bit numbers, for coarse steps.
  bool on_device = false;
};

struct SearchOptions {
  std::size_t k = 1;
  std::uint64_t max_codes = 0;              ///< 0: no limit.
  SearchMode mode = SearchMode::automatic;  ///< matrix: per query; csr: per list, on tensor cores.
  Tuning tuning;
  Report* report = nullptr;
  bool timed = true;  ///< The report has phases; counts alone cost less.
};

struct RangeOptions {
  /// Rows whose canonical value is below it (L2), or above it (inner product), are hits.
  float radius = 0;
  std::uint64_t max_codes = 0;  ///< 0: no limit.
  unsigned threads = 1;         ///< Of the host, to sort hits.
  Tuning tuning;
  Report* report = nullptr;
};

/// Queries up to which SearchMode::automatic goes per query, unless their lists are very long.
constexpr std::uint64_t matrix_queries = 4;

/// One device. Calls may be made by one thread at a time.
class Engine {
 public:
  Engine(int device, Allocator& allocator);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Largest k, and largest nprobe short of all lists.
  static constexpr std::size_t max_k = 2048;

  /// Device memory that load() takes for the corpus.
  static std::uint64_t bytes_needed(const Corpus& corpus, const Part& part = {});
  /// Copies a corpus, or a part of one, from host memory; returns when it is there. `threads` threads of the host (0:
  /// all that there are) bring rows to page-locked memory, from which the device takes them. Rows that the segments
  /// call removed are left out; Corpus::hidden is for hide(). Throws Error(failed) with the numbers, before anything is
  /// allocated, when it does not fit.
  std::unique_ptr<DeviceCorpus> load(const Corpus& corpus, StreamHandle stream, const Part& part = {},
                                     unsigned threads = 0);
  /// The same rows for searches that must not find those of `hidden`. They still count for max_codes. The result shares
  /// the rows, and may outlive `corpus`. Returns when it is there; the sets are not kept.
  std::unique_ptr<DeviceCorpus> hide(const DeviceCorpus& corpus, HiddenRows hidden, StreamHandle stream);

  /// Canonical top-k of each query over its lists.
  void topk(const DeviceCorpus& corpus, const Rows& queries, const ProbeLists& probes, const SearchOptions& options,
            const Results& results, StreamHandle stream);
  /// The coarse step and the scan, without a word from the host in between.
  void search(const DeviceCorpus& centroids, const DeviceCorpus& lists, const Rows& queries, std::size_t nprobe,
              const SearchOptions& options, const Results& results, StreamHandle stream);
  /// All hits of each query in its lists, sorted by (value, id), best first. Waits for the device.
  RangeHits range(const DeviceCorpus& corpus, const Rows& queries, const ProbeLists& probes,
                  const RangeOptions& options, StreamHandle stream);
  /// The same in the `nprobe` lists that a coarse step finds.
  RangeHits range(const DeviceCorpus& centroids, const DeviceCorpus& lists, const Rows& queries, std::size_t nprobe,
                  const RangeOptions& options, StreamHandle stream);
  /// Adds rows to fixed-point sums (kmeans/fixed_point.h): sums[lists[i]][j] += bits(rows[i][j] + magic), and counts
  /// them in `sizes`. All in device memory; rows whose list is negative are left out.
  void add_to_sums(const Rows& rows, std::size_t dim, const std::int32_t* lists, double magic, std::uint64_t* sums,
                   std::uint64_t* sizes, StreamHandle stream);

 private:
  friend class PartedCorpus;
  struct Impl;
  class RangeSearch;
  /// With centroids, the lists come from them; otherwise from `probes`.
  void run(const DeviceCorpus* centroids, const DeviceCorpus& corpus, const Rows& queries, const ProbeLists& probes,
           const SearchOptions& options, const Results& results, StreamHandle stream);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ivf::detail::gpu

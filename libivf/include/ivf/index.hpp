#pragma once
/// \file
/// IndexFlat and IndexIVFFlat: exact and inverted-file vector search in memory or from a file.
///
/// Results are canonical (docs/numerics.md): the same bits on every instruction set, thread count, mode and batch
/// split. All members throw ivf::Error: kind misuse for parameters, dimensions and non-finite values (with row and
/// column), failed for I/O, corrupt for files. A member that throws has no effect. Concurrent const calls are safe.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ivf/device.hpp"
#include "ivf/error.hpp"
#include "ivf/ids.hpp"
#include "ivf/search.hpp"
#include "ivf/types.hpp"

namespace ivf {

/// How k-means starts.
enum class KMeansInit { random, plus_plus };

struct TrainParams : RunOptions {
  std::uint64_t seed = 1234;
  unsigned iterations = 10;
  KMeansInit init = KMeansInit::random;
};

/// What a training did.
struct TrainReport {
  std::vector<double> objective;  ///< Per iteration: sum of squared distances (L2), sum of inner products (IP, cosine).
  double imbalance = 1;           ///< nlist * sum(size^2) / sum(size)^2 of the training rows; 1 is perfectly balanced.
  std::uint64_t splits = 0;       ///< Empty lists refilled by splitting the largest.
  std::uint64_t rows = 0;
};

/// Rows and bytes of an index.
struct IndexInfo {
  Metric metric = Metric::l2;
  std::size_t dim = 0;
  std::size_t nlist = 1;
  bool flat = false;
  bool trained = false;
  std::uint64_t rows = 0;     ///< Without the removed ones.
  std::uint64_t removed = 0;  ///< Rows that were removed and still take memory.
  std::uint64_t next_id = 0;  ///< The id that the next row added without ids gets.
  std::uint64_t segments = 0;
  std::uint64_t seed = 0;
  std::string metadata;                   ///< JSON: how it was trained.
  std::vector<std::uint64_t> list_sizes;  ///< nlist, without removed rows.
  double imbalance = 1;
};

struct SaveOptions {
  bool compress = false;
  bool replace = true;  ///< Overwrite an existing file.
  unsigned threads = 0;
};

/// Queries that lie where an index computes, and the results of searching them, which stay there until they are asked
/// for: to measure a device without the way to it.
class PlacedQueries {
 public:
  virtual ~PlacedQueries() = default;
  /// Searches them. Returns when the device is done.
  virtual void search() = 0;
  /// What the last search found; without statistics.
  virtual SearchResult results() const = 0;
};

class IndexImpl;

/// What both indexes share. Not constructed by itself.
class Index {
 public:
  Index(Index&&) noexcept;
  Index& operator=(Index&&) noexcept;
  virtual ~Index();

  Metric metric() const noexcept;
  std::size_t dim() const noexcept;
  std::uint64_t size() const noexcept;  ///< Rows, without the removed ones.
  bool is_trained() const noexcept;
  IndexInfo info() const;

  /// Computes on this device from now on: searches, training and additions. What the index holds is brought there now,
  /// and what is added later, when it is next searched or when to() is called again. Throws Error(misuse) when the
  /// device is not there, Error(failed) with the numbers when the index does not fit; it then stays where it was.
  void to(const Placement& placement);
  const Placement& placement() const noexcept;
  /// The device that computes.
  DeviceInfo device() const;
  /// Measures what it does at best: large copies and products. Not known where the index computes on the CPU.
  DevicePeak measure_peak() const;

  /// Adds rows under the next n numbers. Numbering begins at 0, and goes on by one with every row that is added,
  /// whatever its id; removing rows does not set it back.
  void add(MatrixView rows, const RunOptions& options = {});
  /// Adds rows under the caller's ids (any but -1; duplicates allowed: they are separate rows).
  void add_with_ids(MatrixView rows, std::span<const idx_t> ids, const RunOptions& options = {});
  /// Removes the rows with these ids: they are not found any more, and do not count for max_codes. Returns how many
  /// rows that were. Their memory is freed when small segments are merged, and by writing the file anew
  /// (compact_index).
  std::uint64_t remove_ids(const IdSet& ids, const RunOptions& options = {});
  /// The k best rows of every query in the total order (value, id).
  SearchResult search(MatrixView queries, const SearchParams& params = {}) const;
  /// Brings queries to where the index computes, for searches that are as search() does them. The index must stay as it
  /// is, and where it is, as long as the result lives. Throws Error(misuse) where it computes in the host's memory, and
  /// for a filter.
  std::unique_ptr<PlacedQueries> place_queries(MatrixView queries, const SearchParams& params) const;
  /// All rows with distance < radius (L2) or inner product > radius (IP, cosine); k is ignored.
  RangeResult range_search(MatrixView queries, float radius, const SearchParams& params = {}) const;
  /// Exact top-k over all rows, whatever the index: what `nprobe = nlist` returns, without the coarse step.
  SearchResult search_exact(MatrixView queries, const SearchParams& params = {}) const;
  /// Removes all rows; the training stays, and numbering begins anew.
  void reset();
  /// Writes the index to a new file (atomically).
  void save(const std::string& path, const SaveOptions& options = {}) const;

 protected:
  explicit Index(std::unique_ptr<IndexImpl> impl) noexcept;
  std::unique_ptr<IndexImpl> impl_;
  friend std::unique_ptr<Index> load_index(const std::string& path, const RunOptions& options);
};

/// Exact search over one list of rows.
class IndexFlat : public Index {
 public:
  IndexFlat(std::size_t dim, Metric metric);
  static IndexFlat load(const std::string& path, const RunOptions& options = {});

 private:
  friend std::unique_ptr<Index> load_index(const std::string& path, const RunOptions& options);
  using Index::Index;
};

/// Inverted lists over k-means centroids.
class IndexIVFFlat : public Index {
 public:
  IndexIVFFlat(std::size_t dim, std::size_t nlist, Metric metric);
  static IndexIVFFlat load(const std::string& path, const RunOptions& options = {});

  /// Deterministic k-means: equal rows, seed and parameters give equal centroids on any number of threads and any ISA.
  TrainReport train(MatrixView rows, const TrainParams& params = {});
  /// Takes the caller's centroids (nlist x dim) instead of training.
  void set_centroids(MatrixView centroids);
  std::vector<float> centroids() const;  ///< nlist x dim
  /// The list that each row would be added to: canonical top-1 over the centroids.
  std::vector<idx_t> assign(MatrixView rows, const RunOptions& options = {}) const;
  /// Ids and vectors of one list, in scan order. For tests and interchange.
  std::vector<idx_t> list_ids(std::size_t list) const;
  std::vector<float> list_vectors(std::size_t list) const;

 private:
  friend std::unique_ptr<Index> load_index(const std::string& path, const RunOptions& options);
  using Index::Index;
};

/// Opens whichever index the file holds. The file is memory-mapped: an uncompressed index takes next to no private
/// memory.
std::unique_ptr<Index> load_index(const std::string& path, const RunOptions& options = {});

/// Adds rows to an index file in bounded memory: each append() becomes part of a segment on disk, and nobody sees any
/// of them before commit(). Destroyed without commit(), or killed at any moment, it leaves the file as it was.
class FileAppender {
 public:
  /// Locks the file against other writers. Throws Error(failed) when another holds the lock.
  explicit FileAppender(const std::string& path, const RunOptions& options = {}, const Placement& placement = {});
  ~FileAppender();
  std::size_t dim() const noexcept;
  Metric metric() const noexcept;
  std::uint64_t size() const noexcept;  ///< Committed and pending rows, without the removed ones.
  /// A number of rows that fits the memory cap as one batch.
  std::size_t batch_rows() const noexcept;
  /// Under the next n numbers, as Index::add() counts them.
  void append(MatrixView rows);
  void append(MatrixView rows, std::span<const idx_t> ids);
  /// From now on, a commit removes the rows that were committed before under the ids of those it adds. It throws
  /// Error(misuse) when an id was appended twice since the last commit. Takes 8 bytes an appended row,
  /// and up to 24 while it commits.
  void replace_ids();
  /// Removes the rows that were committed before with these ids, as a part of the next commit. Returns how many.
  std::uint64_t remove(const IdSet& ids);
  void commit();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// Checks that an index file is sound. `full` also checks every checksum, that the planes hold finite values, that
/// norms and radii are right, and that each row lies in the list of its nearest centroid. Throws Error(corrupt) saying
/// what is wrong.
void verify_index(const std::string& path, bool full, const RunOptions& options = {});

/// Normalises rows in place as `cosine` indexes do at ingest (docs/numerics.md); zero rows stay zero.
void normalize_rows(float* rows, std::size_t n, std::size_t dim);

/// recall@k: the share of the true neighbours (first k of each truth row) that are among the first k results.
/// A result whose distance ties with the k-th true one counts when `distances` and `truth_distances` are given.
double recall_at_k(std::span<const idx_t> ids, std::size_t ids_k, std::span<const idx_t> truth, std::size_t truth_k,
                   std::size_t nq, std::size_t k);

/// Number of threads that the process may use: affinity mask and cgroup CPU quota.
unsigned available_threads();

/// Names of the instruction-set levels that this machine can run, slowest first; a search uses the last one, or the one
/// that IVF_ISA names.
std::vector<std::string> isa_levels();

}  // namespace ivf

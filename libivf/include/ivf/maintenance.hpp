#pragma once
/// \file
/// Writing index files anew: compacting, merging and splitting.
///
/// Everything here works from file to file in bounded memory, checks the checksums of what it reads, and throws
/// ivf::Error like the rest of the library. A file that is written appears whole or not at all, and readers of one that
/// is replaced keep what they have opened.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ivf/device.hpp"
#include "ivf/index.hpp"

namespace ivf {

/// How a file is written anew.
struct RewriteOptions : RunOptions {
  /// Stored as zstd frames or as it is; empty: as the (first) index that is read.
  std::optional<bool> compress{};
  bool replace = true;  ///< Overwrite a file that is there.
};

/// What was read and written.
struct RewriteReport {
  std::uint64_t rows = 0;      ///< In what was written.
  std::uint64_t dropped = 0;   ///< Removed rows that were left out.
  std::uint64_t segments = 0;  ///< In what was read.
  std::uint64_t bytes_before = 0, bytes_after = 0;
};

struct CompactOptions : RewriteOptions {
  /// Sorts the rows of each list by id. Equal rows under equal ids then give equal bytes, whatever came and went
  /// before; and numbering goes on behind the rows and the largest id that are left.
  bool sort = false;
};

/// Writes the rows that are left as one segment, list after list, to `out`, which may be the index itself. Nobody else
/// can write to a file that is replaced meanwhile: Error(failed) when somebody does so already.
RewriteReport compact_index(const std::string& path, const std::string& out, const CompactOptions& options = {});

/// When compacting is worth its cost. A file is written anew when there is at least `share` of it to win, so that an
/// index that grows and is compacted again and again writes each row 1 / share times, about.
struct CompactPolicy {
  double share = 0.2;            ///< More than this part of the rows is removed, or of the file's bytes unused, or
  std::uint64_t segments = 64;   ///< there are more segments, and at least `share` of the rows are outside the
                                 ///< largest of them, or
  std::uint64_t at_most = 1024;  ///< there are more segments than this.
};
bool compaction_due(const std::string& path, const CompactPolicy& policy = {});

/// What becomes of the ids of several indexes.
enum class MergeIds {
  unique,  ///< Kept; Error(misuse) when two indexes hold the same one.
  keep,    ///< Kept; rows of two indexes may have the same one.
  shift,   ///< Those of each index are raised by the next id of the ones before it. None may be negative.
};

/// How a merged index gets new centroids.
struct Retraining {
  std::size_t nlist = 1;
  std::uint64_t sample = 0;  ///< Rows to learn from, drawn at random; all when they are fewer. At least nlist.
  std::uint64_t seed = TrainParams().seed;
  unsigned iterations = TrainParams().iterations;
  KMeansInit init = TrainParams().init;
};

struct MergeOptions : RewriteOptions {
  MergeIds ids = MergeIds::unique;
  std::optional<Retraining> retrain{};  ///< Empty: the centroids of the first index.
  Placement placement{};                ///< Where rows are assigned to lists, and centroids trained.
};

struct MergeReport : RewriteReport {
  std::uint64_t reassigned = 0;     ///< Rows that came from an index with other centroids.
  std::vector<idx_t> id_offsets{};  ///< What the ids of each index were raised by.
  std::optional<TrainReport> training{};
};

/// Writes the rows of several indexes of one metric and dimension as one index. Rows of those that have the centroids
/// of the first are copied; others are assigned to its lists, a segment at a time that fits the memory.
MergeReport merge_indexes(const std::string& out, std::span<const std::string> paths, const MergeOptions& options = {});

/// Which rows a shard gets.
enum class SplitBy {
  list,  ///< Shard i of n: the lists l with l mod n = i. The other lists of it are empty.
  row,   ///< Shard i of n: every n-th row in the order of the lists, from the i-th on.
};

struct SplitOptions : RewriteOptions {
  SplitBy by = SplitBy::row;
};

/// Writes the rows of an index as several, with the centroids of it. Their results for a query, merged by (value, id),
/// are those of the whole, for any k, nprobe and radius. No file appears before all are written.
std::vector<RewriteReport> split_index(const std::string& path, std::span<const std::string> outs,
                                       const SplitOptions& options = {});

}  // namespace ivf

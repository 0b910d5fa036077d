#pragma once
/// \file
/// An index as other programs see it: its contents row by row, and files of faiss.
///
/// Everything here works on files, in bounded memory, and throws ivf::Error like the rest of the library. A file that
/// is written appears whole or not at all.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ivf/device.hpp"
#include "ivf/search.hpp"
#include "ivf/types.hpp"

namespace ivf {

/// What to do with an id that an index does not hold.
enum class MissingIds { refuse, skip };

/// The contents of an index file, as they are stored: a row comes back with the bits that it was added with, and those
/// of a cosine index normalised. Removed rows are left out. Commits by others do not disturb it; const calls are safe
/// from several threads.
class StoredIndex {
 public:
  /// `options.max_memory` bounds what visits hold at a time, and `options.progress` is called between batches.
  explicit StoredIndex(const std::string& path, const RunOptions& options = {});
  StoredIndex(const StoredIndex&) = delete;
  StoredIndex& operator=(const StoredIndex&) = delete;
  ~StoredIndex();

  bool flat() const noexcept;
  Metric metric() const noexcept;
  std::size_t dim() const noexcept;
  std::size_t nlist() const noexcept;  ///< 1 for a flat index.
  std::uint64_t rows() const noexcept;
  /// List l has rows offsets()[l] to offsets()[l + 1] - 1 in list order: lists one after the other, the rows of a list
  /// in the order of their addition. nlist + 1 values.
  const std::vector<std::uint64_t>& offsets() const noexcept;

  using RowVisitor = std::function<void(std::span<const idx_t> ids, MatrixView rows)>;
  using CentroidVisitor = std::function<void(MatrixView centroids)>;
  using IdVisitor = std::function<void(std::span<const idx_t> ids)>;
  /// Centroids in order of their lists, in batches. None for a flat index.
  void visit_centroids(const CentroidVisitor& visit) const;
  /// All rows in list order, in batches.
  void visit_rows(const RowVisitor& visit) const;
  /// The rows of one list, in batches.
  void visit_list(std::size_t list, const RowVisitor& visit) const;
  void visit_list_ids(std::size_t list, const IdVisitor& visit) const;

  /// The rows of these ids in the order of the ids, in batches; returns how many ids the index does not hold, which are
  /// left out. With MissingIds::refuse one such id is Error(failed), thrown before the first batch. Of rows that share
  /// an id, the one that was stored first is meant: that of the oldest segment, there that of the first list.
  /// Takes up to 80 bytes of memory an id.
  std::uint64_t reconstruct(std::span<const idx_t> ids, const RowVisitor& visit,
                            MissingIds missing = MissingIds::refuse) const;

 private:
  class Impl;
  std::unique_ptr<const Impl> impl_;
};

/// What a file of faiss holds.
struct FaissReport {
  std::string type;            ///< The class that faiss reads it as: "IndexIVFFlat", "IndexFlatL2", "IndexIDMap2", ...
  Metric metric = Metric::l2;  ///< Of the ivf index.
  std::size_t dim = 0;
  std::uint64_t nlist = 1;
  std::uint64_t rows = 0;
};

/// Writes an index in the layout of faiss's write_index(): an IndexIVFFlat, an IndexFlat, or an IndexIDMap2 around an
/// IndexFlat where ids are not 0, 1, 2, ... A cosine index becomes one of inner products over its normalised rows. A
/// file that is there is replaced.
FaissReport export_faiss(const std::string& index, const std::string& path, const RunOptions& options = {});

struct ImportOptions : RunOptions {
  bool compress = false;  ///< As SaveOptions.
  bool replace = true;    ///< Overwrite an existing index.
  /// cosine: inner products become cosines. Rows whose squared norm is within 1e-6 of 1 are kept bit for bit, others
  /// are normalised. Otherwise it must be the metric that the file has.
  std::optional<Metric> metric{};
  Placement placement{};  ///< Where rows are assigned to lists.
};

struct ImportReport : FaissReport {
  /// Rows that lie in another list than in the file: each row goes to the list of its canonically nearest centroid.
  std::uint64_t moved = 0;
  std::uint64_t normalized = 0;  ///< Rows that were not of unit length (cosine).
  /// The file chose lists by another metric than the one that it compares rows by.
  bool other_quantizer = false;
};

/// Makes an index of a file that faiss wrote: an IndexFlat or IndexIVFFlat of L2 or inner product, or an IndexIDMap or
/// IndexIDMap2 around an IndexFlat. Ids and the order of rows in their lists are kept. The file is not trusted: every
/// size is checked against its length before memory is allocated by it. Throws Error(corrupt) for damage, values that
/// are not finite and ids of -1, Error(misuse) for what faiss has and ivf has not, by its name.
ImportReport import_faiss(const std::string& path, const std::string& index, const ImportOptions& options = {});

}  // namespace ivf

#pragma once
/// \file
/// ivf itself, behind the interface that measurements use.

#include <string>

#include "bench/engine.h"

namespace ivf::bench {

class IvfEngine final : public Engine {
 public:
  /// An index to be trained. `options` say threads and memory, and are asked between pieces of work.
  IvfEngine(const IndexSettings& settings, RunOptions options, const Placement& placement);
  /// An index that exists.
  IvfEngine(std::unique_ptr<Index> index, RunOptions options, const Placement& placement);

  LibraryInfo info() const override { return info_; }
  std::optional<std::uint64_t> device_memory_in_use() const override;
  /// Both bring what the index then holds to the device.
  void train(MatrixView rows) override;
  void add(MatrixView rows) override;
  SearchResult search(MatrixView queries, const SearchSettings& settings) const override;
  /// The same with queries and results that stay on the device.
  std::unique_ptr<PlacedQueries> place(MatrixView queries, const SearchSettings& settings) const;

  const Index& index() const noexcept { return *index_; }
  /// Null for a flat index.
  const IndexIVFFlat* lists() const noexcept { return dynamic_cast<const IndexIVFFlat*>(index_.get()); }
  /// A hash (hex) of centroids, ids and vectors, list by list; of a flat index, empty.
  std::string contents_hash() const;

 private:
  SearchParams params_of(const SearchSettings& settings) const;

  std::unique_ptr<Index> index_;
  RunOptions options_;
  std::uint64_t seed_ = 0;
  std::uint64_t free_before_ = 0;  ///< Of the device's memory.
  LibraryInfo info_;
};

}  // namespace ivf::bench

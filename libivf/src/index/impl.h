#pragma once
/// \file
/// The state behind both indexes: parameters, centroids, segments and the backend that computes on them.

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "index/centroids.h"
#include "index/filter.h"
#include "index/resources.h"
#include "index/row_sets.h"
#include "index/segment.h"
#include "ivf/format/container.hpp"
#include "ivf/index.hpp"

namespace ivf {

class IndexImpl {
 public:
  IndexImpl(format::IndexKind kind, Metric metric, std::size_t dim, std::size_t nlist);
  /// Opens a file; its sections are used from the memory map.
  static std::unique_ptr<IndexImpl> load(const std::string& path, const RunOptions& options);

  const format::Parameters& parameters() const noexcept { return parameters_; }
  bool flat() const noexcept { return parameters_.kind == format::IndexKind::flat; }
  bool trained() const noexcept { return flat() || centroids_ != nullptr; }
  std::uint64_t rows() const noexcept { return corpus_.rows - removed_; }  ///< Without those that were removed.
  std::uint64_t next_id() const noexcept { return next_id_; }
  const detail::CentroidSet& centroids() const;
  const std::vector<format::SegmentView>& segments() const noexcept { return corpus_.segments; }
  IndexInfo info() const;

  /// Computes on this device from now on, and brings what the index holds there.
  void to(const Placement& placement);
  const Placement& placement() const noexcept { return placement_; }
  detail::Backend& backend() const { return backend_ != nullptr ? *backend_ : detail::cpu_backend(); }
  /// The rows, and the centroids, as the backend wants them: loaded on its device if they are not there yet.
  detail::Corpus placed_rows() const;
  detail::Corpus placed_centroids() const;

  TrainReport train(MatrixView rows, const TrainParams& params);
  void set_centroids(MatrixView centroids);
  std::vector<idx_t> assign(MatrixView rows, const RunOptions& options) const;
  void add(MatrixView rows, const detail::IncomingIds& ids, const RunOptions& options);
  /// Returns how many rows were removed.
  std::uint64_t remove(const IdSet& ids, const RunOptions& options);
  void reset() noexcept;
  void save(const std::string& path, const SaveOptions& options) const;

  /// `exact` scans every list and needs no centroids; nprobe and max_codes are then without meaning.
  SearchResult search(MatrixView queries, const SearchParams& params, bool exact) const;
  RangeResult range_search(MatrixView queries, float radius, const SearchParams& params) const;
  std::unique_ptr<PlacedQueries> place_queries(MatrixView queries, const SearchParams& params) const;

 private:
  void require_no_rows(const char* operation) const;

  /// Segments in order of arrival: mapped ones (no owner) first, then those added in memory.
  struct Held {
    std::shared_ptr<const detail::OwnedSegment> owner;
    format::SegmentView view;
    std::shared_ptr<const detail::RowBits> removed;  ///< What view.removed shows, unless that is mapped.
  };
  /// Appends a segment, merged with the ones before it that are small.
  void push_segment(std::vector<Held>& held, std::shared_ptr<const detail::OwnedSegment> segment,
                    unsigned threads) const;
  void use_segments(std::vector<Held> held);

  format::Parameters parameters_;
  std::shared_ptr<const format::Snapshot> snapshot_;  ///< Keeps mapped centroids and segments alive.
  std::unique_ptr<const detail::CentroidSet> centroids_;
  std::vector<Held> held_;
  detail::Corpus corpus_;      ///< What is searched: views of held_.
  std::uint64_t removed_ = 0;  ///< Of its rows.
  std::uint64_t next_id_ = 0;  ///< Of the next row that is numbered.

  /// What the backend keeps on its device, made when it is first needed. Searches may come from several threads.
  struct Residency {
    std::mutex mutex;
    std::shared_ptr<const detail::Resident> rows, centroids;
  };
  detail::Corpus placed(const detail::Corpus& corpus, std::shared_ptr<const detail::Resident>& resident) const;

  /// The rows that a filter allows: kept for the next search, which often has the same one.
  std::shared_ptr<const detail::AllowedRows> allowed_rows(const Filter& filter, unsigned threads) const;
  SearchResult search_allowed(const detail::AllowedRows& allowed, MatrixView queries, const SearchParams& params) const;

  /// The last filter's rows; forgotten when the rows change.
  struct FilterCache {
    std::mutex mutex;
    std::shared_ptr<const IdSet> ids;
    bool forbid = false;
    std::shared_ptr<const detail::AllowedRows> rows;
  };
  std::unique_ptr<FilterCache> filter_cache_ = std::make_unique<FilterCache>();

  Placement placement_;
  std::shared_ptr<detail::Backend> backend_;  ///< Null: the native CPU backend.
  std::unique_ptr<Residency> residency_ = std::make_unique<Residency>();
};

namespace detail {

/// Throws Error(corrupt) unless the parameters of a file are within the library's limits.
void check_stored_parameters(const std::string& path, const format::Parameters& parameters);
/// Throws Error(misuse) when an id is -1 or when their number is not that of the rows.
void check_ids(std::span<const idx_t> ids, std::size_t rows);
/// Throws Error(misuse) unless as many rows can be numbered.
void check_numbering(std::uint64_t next_id, std::uint64_t rows);
/// Whether vectors are compared by inner product.
inline bool is_inner_product(Metric metric) noexcept { return metric != Metric::l2; }
/// nlist * sum(size^2) / sum(size)^2; 1 without rows.
double imbalance_of(std::span<const std::uint64_t> list_sizes) noexcept;

}  // namespace detail
}  // namespace ivf

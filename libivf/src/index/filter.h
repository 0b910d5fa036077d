#pragma once
/// \file
/// Searches that may find some rows only: which rows, and how they are looked at.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "index/resources.h"
#include "index/row_sets.h"
#include "index/segment.h"
#include "ivf/search.hpp"

namespace ivf::detail {

/// The rows of an index that a filter allows.
struct AllowedRows {
  AllowedRows(std::span<const format::SegmentView> segments, const Filter& filter, unsigned threads);

  std::vector<std::span<const std::uint64_t>> hidden_views() const { return {hidden.begin(), hidden.end()}; }

  std::vector<RowBits> hidden;  ///< The others, of each segment.
  std::uint64_t count = 0;
};

/// Whether the allowed rows are scanned by themselves instead of the probed lists. Automatically, when they are no more
/// than a query scans otherwise: then it costs no more, and finds the exact neighbours. `nlist` is 1 for a search that
/// scans everything, whose result is the same either way when there is no max_codes. The rule knows neither queries nor
/// resources, so that results do not depend on how queries are batched.
bool scans_directly(const SearchParams& params, const AllowedRows& allowed, std::uint64_t rows, std::uint64_t nlist);

/// Copies of the allowed rows as corpora of one list that fit the memory cap, one after the other.
class AllowedBlocks {
 public:
  AllowedBlocks(const Corpus& corpus, const AllowedRows& allowed, const Resources& resources);
  /// The next block, valid until the next call; null after the last. The first may have no rows.
  const Corpus* next();

 private:
  /// Appends runs of allowed rows from where the last block ended, until it is full.
  void fill(OwnedSegment& block);

  const Corpus& corpus_;
  const AllowedRows& allowed_;
  std::uint64_t block_rows_;
  std::uint64_t left_;
  float residual_ = 0;  ///< Bounds the relative residual of every row.
  bool started_ = false;
  std::size_t segment_ = 0;
  std::uint64_t row_ = 0;
  OwnedSegment block_;
  Corpus view_;
};

/// The k best of what several searches found, in the total order.
class BestRows {
 public:
  BestRows(std::size_t nq, std::size_t k, bool ascending);
  /// nq x k results, each query's in the total order.
  void merge(std::span<const float> values, std::span<const idx_t> ids, unsigned threads);
  void take(std::vector<float>& values, std::vector<idx_t>& ids);

 private:
  std::size_t nq_, k_;
  bool ascending_;
  std::vector<float> values_;
  std::vector<idx_t> ids_;
};

}  // namespace ivf::detail

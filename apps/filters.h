#pragma once
/// \file
/// Filters of a search: one for all queries, or one for each.

#include <cstdint>
#include <memory>
#include <vector>

#include "filter_options.h"
#include "ivf/search.hpp"

namespace ivf::cli {

/// Queries of a batch that have the same filter.
struct FilteredQueries {
  Filter filter;
  std::vector<std::size_t> queries;  ///< Positions in the batch; empty: all of them.
};

/// What the options name, read along with the queries where each has a filter of its own.
class FilterSource {
 public:
  virtual ~FilterSource() = default;
  /// Whether each query has a filter of its own. Otherwise next() gives the same one whenever it is called.
  virtual bool per_query() const noexcept = 0;
  /// The filters of the next queries, at most `nq`, and at least one; `taken` is how many. Throws Error(misuse) when
  /// the file ends before, Error(corrupt) for what is not a filter.
  virtual std::vector<FilteredQueries> next(std::size_t nq, std::size_t& taken) = 0;
};

/// `first`: queries that are passed over (--start). `memory`: bytes for filters that are held at a time; one that needs
/// more by itself is refused with Error(misuse). Null when no filter was asked for.
std::unique_ptr<FilterSource> open_filters(const FilterOptions& options, std::uint64_t first, std::uint64_t memory);

}  // namespace ivf::cli

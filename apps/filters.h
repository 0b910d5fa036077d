#pragma once
/// \file
/// Filters of a search: one for all queries, or one for each.

#include <memory>
#include <string>
#include <vector>

#include "ivf/search.hpp"
#include "options.h"

namespace ivf::cli {

/// --filter, --filter-not and --filter-plan.
struct FilterOptions {
  std::string allowed, forbidden;
  FilterPlan plan = FilterPlan::automatic;

  void define(OptionSet& options);
  bool any() const noexcept { return !allowed.empty() || !forbidden.empty(); }
  /// What was given, as one text.
  const std::string& spec() const noexcept { return allowed.empty() ? forbidden : allowed; }
  bool forbids() const noexcept { return !forbidden.empty(); }
};

/// Queries of a batch that have the same filter.
struct FilteredQueries {
  Filter filter;
  std::vector<std::size_t> queries;  ///< Positions in the batch; empty: all of them.
};

/// What the options name, read along with the queries where each has a filter of its own.
class FilterSource {
 public:
  virtual ~FilterSource() = default;
  /// One filter for all queries; the same object whenever it is called.
  virtual bool per_query() const noexcept = 0;
  /// The filters of the next `nq` queries. Throws Error(misuse) when the file ends before, Error(corrupt) for what is
  /// not a filter.
  virtual std::vector<FilteredQueries> next(std::size_t nq) = 0;
};

/// `first`: queries that are passed over (--start). Null when no filter was asked for.
std::unique_ptr<FilterSource> open_filters(const FilterOptions& options, std::uint64_t first);

}  // namespace ivf::cli

#pragma once
/// \file
/// A batch of queries that do not all have the same filter, as one search.

#include <functional>

#include "filters.h"
#include "ivf/search.hpp"

namespace ivf::cli {

/// How queries with a filter were answered.
struct FilterUse {
  std::uint64_t scanned = 0;       ///< Queries whose lists were scanned.
  std::uint64_t direct = 0;        ///< Queries whose allowed rows were scanned by themselves.
  std::uint64_t rows_allowed = 0;  ///< Over these queries.

  std::uint64_t queries() const noexcept { return scanned + direct; }
  /// Rows that a query's filter allows on average, rounded.
  std::uint64_t average() const noexcept { return queries() == 0 ? 0 : (rows_allowed + queries() / 2) / queries(); }
};

template <class Result>
using SearchFunction = std::function<Result(MatrixView, const SearchParams&)>;

/// Searches each group of `groups` by itself, and returns all results in the order of the queries.
SearchResult filtered_search(const std::vector<FilteredQueries>& groups, MatrixView queries, const SearchParams& params,
                             const SearchFunction<SearchResult>& search, FilterUse& use);
RangeResult filtered_search(const std::vector<FilteredQueries>& groups, MatrixView queries, const SearchParams& params,
                            const SearchFunction<RangeResult>& search, FilterUse& use);

}  // namespace ivf::cli

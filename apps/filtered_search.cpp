#include "filtered_search.h"

#include <algorithm>

#include "bench/measure.h"

namespace ivf::cli {
namespace {

/// Calls take(position in the batch, result, position in the result) for each query.
template <class Result, class Take>
SearchStats search_groups(const std::vector<FilteredQueries>& groups, MatrixView queries, const SearchParams& params,
                          const SearchFunction<Result>& search, FilterUse& use, Take take) {
  SearchStats stats;
  std::vector<float> gathered;
  for (const FilteredQueries& group : groups) {
    SearchParams how = params;
    how.filter = group.filter;
    MatrixView some = queries;
    if (!group.queries.empty()) {
      gathered.clear();
      for (const std::size_t q : group.queries)
        gathered.insert(gathered.end(), queries.row(q), queries.row(q) + queries.dim);
      some = MatrixView(gathered.data(), group.queries.size(), queries.dim);
    }
    Result found = search(some, how);
    bench::accumulate(stats, found.stats);
    if (group.filter.ids != nullptr) {
      (found.stats.filter_plan == FilterPlan::direct ? use.direct : use.scanned) += some.rows;
      use.rows_allowed += some.rows * found.stats.rows_allowed;
    }
    take(group, std::move(found));
  }
  return stats;
}

}  // namespace

SearchResult filtered_search(const std::vector<FilteredQueries>& groups, MatrixView queries, const SearchParams& params,
                             const SearchFunction<SearchResult>& search, FilterUse& use) {
  SearchResult all;
  const auto stats = search_groups<SearchResult>(
      groups, queries, params, search, use, [&](const FilteredQueries& group, SearchResult found) {
        if (group.queries.empty()) {
          all = std::move(found);
          return;
        }
        const std::size_t k = found.k;
        all.nq = queries.rows;
        all.k = k;
        all.distances.resize(queries.rows * k);
        all.ids.resize(queries.rows * k);
        for (std::size_t i = 0; i < group.queries.size(); ++i) {
          const auto from = static_cast<std::ptrdiff_t>(i * k), to = static_cast<std::ptrdiff_t>(group.queries[i] * k);
          std::copy_n(found.distances.begin() + from, k, all.distances.begin() + to);
          std::copy_n(found.ids.begin() + from, k, all.ids.begin() + to);
        }
      });
  all.stats = stats;
  return all;
}

RangeResult filtered_search(const std::vector<FilteredQueries>& groups, MatrixView queries, const SearchParams& params,
                            const SearchFunction<RangeResult>& search, FilterUse& use) {
  /// Where the hits of a query are: in a part, from and to.
  struct Place {
    std::size_t part = 0;
    std::uint64_t begin = 0, end = 0;
  };
  std::vector<RangeResult> parts;
  std::vector<Place> places(queries.rows);
  RangeResult all;
  all.stats = search_groups<RangeResult>(
      groups, queries, params, search, use, [&](const FilteredQueries& group, RangeResult found) {
        for (std::size_t i = 0; i + 1 < found.lims.size(); ++i) {
          places[group.queries.empty() ? i : group.queries[i]] = {parts.size(), found.lims[i], found.lims[i + 1]};
        }
        parts.push_back(std::move(found));
      });
  if (groups.size() == 1 && groups.front().queries.empty()) {
    const auto stats = all.stats;
    all = std::move(parts.front());
    all.stats = stats;
    return all;
  }
  all.lims.push_back(0);
  for (const Place& place : places) {
    const RangeResult& part = parts[place.part];
    const auto begin = static_cast<std::ptrdiff_t>(place.begin), end = static_cast<std::ptrdiff_t>(place.end);
    all.distances.insert(all.distances.end(), part.distances.begin() + begin, part.distances.begin() + end);
    all.ids.insert(all.ids.end(), part.ids.begin() + begin, part.ids.begin() + end);
    all.lims.push_back(all.ids.size());
  }
  return all;
}

}  // namespace ivf::cli

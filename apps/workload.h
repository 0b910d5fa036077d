#pragma once
/// \file
/// The vectors that a measurement works on, all in memory.

#include <string>
#include <vector>

#include "bench_options.h"
#include "console.h"

namespace ivf::cli {

struct Workload {
  std::string dataset;  ///< Name of the base's source, as records give it.
  std::string source;   ///< Name of the queries' source.
  std::size_t dim = 0;
  Metric metric = Metric::l2;
  std::vector<float> base;     ///< Empty when an index is given.
  std::vector<float> queries;  ///< As many as wanted, or as there are.

  std::size_t nb() const { return base.size() / dim; }
  std::size_t nq() const { return queries.size() / dim; }
  MatrixView base_view() const { return {base.data(), nb(), dim}; }
  MatrixView query_view() const { return {queries.data(), nq(), dim}; }
};

/// Generates or reads base and queries; `index_dim` and `index_metric` are those of an index that is given, and then no
/// base is made. At most `most_queries` queries.
Workload load_workload(const BenchOptions& options, std::size_t index_dim, Metric index_metric,
                       std::uint64_t most_queries, Console& console);

}  // namespace ivf::cli

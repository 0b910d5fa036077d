#include "workload.h"

#include <algorithm>

#include "bench/element_type.h"
#include "ivf/datasets/datasets.hpp"
#include "message.h"
#include "rows.h"

namespace ivf::cli {
namespace {

constexpr std::size_t rows_at_once = 4096;

std::vector<float> read_rows(RowSource& source, Console& console, const char* phase) {
  std::vector<float> rows, batch;
  rows.reserve(source.expected() * source.dim());
  while (source.next(batch, rows_at_once)) {
    rows.insert(rows.end(), batch.begin(), batch.end());
    console.progress(phase, source.rows_read(), source.expected());
  }
  console.clear();
  return rows;
}

/// The name under which queries are found, or misuse that says how to give one.
const std::string& query_source(const BenchOptions& options) {
  if (!options.queries.empty()) return options.queries;
  if (!datasets::is_hdf5(options.dataset)) {
    misuse("{}: holds no queries of its own; name a file with --queries", options.dataset);
  }
  return options.dataset;
}

void read_base(const BenchOptions& options, Workload& work, Console& console) {
  RowSource source(options.dataset, datasets::Role::base, {0, options.nb}, RowSource::Use::store);
  work.dim = source.dim();
  work.dataset = source.name();
  work.base = read_rows(source, console, "reading");
  if (work.base.empty()) misuse("{}: has no rows", source.name());
  work.metric = options.metric ? *options.metric : datasets::stored_metric(options.dataset).value_or(Metric::l2);
}

void read_queries(const BenchOptions& options, std::uint64_t most, Workload& work, Console& console) {
  RowSource source(query_source(options), datasets::Role::queries, {0, most}, RowSource::Use::query);
  source.require_dim(work.dim, work.dataset.empty() ? options.index : work.dataset);
  work.source = source.name();
  work.queries = read_rows(source, console, "reading queries");
  if (work.queries.empty()) misuse("{}: has no queries", source.name());
}

/// Base and queries are parts of one sequence: of the same distribution, and all different.
void generate(const BenchOptions& options, bool base, std::uint64_t queries, Workload& work, Console& console) {
  const std::uint64_t nb = base ? options.nb.value_or(options.defaults.nb) : 0;
  const std::string kind = fmt::format("gaussian:d={},seed={}", work.dim, options.seed());
  const std::string spec = fmt::format("{},n={}", kind, nb + queries);
  if (base) {
    RowSource source(spec, datasets::Role::base, {0, nb}, RowSource::Use::store);
    work.base = read_rows(source, console, "generating");
    work.dataset = kind;
  }
  if (queries > 0) {
    RowSource source(spec, datasets::Role::queries, {nb, queries}, RowSource::Use::query);
    work.queries = read_rows(source, console, "generating queries");
    work.source = kind;
  }
}

void round_rows(const BenchOptions& options, const std::string& name, std::vector<float>& rows) {
  if (!options.dtype) return;
  bench::round_to(*options.dtype, rows);
  const auto bad = std::find_if(rows.begin(), rows.end(), [](float x) { return x - x != 0; });
  if (bad != rows.end()) {
    misuse("{}: holds values that are too large for --dtype {}", name, bench::element_type_name(*options.dtype));
  }
}

}  // namespace

Workload load_workload(const BenchOptions& options, std::size_t index_dim, Metric index_metric,
                       std::uint64_t most_queries, Console& console) {
  const bool has_index = !options.index.empty();
  Workload work;
  work.metric = has_index ? index_metric : options.metric.value_or(Metric::l2);
  work.dim = has_index ? index_dim : options.dim.value_or(options.defaults.dim);
  const bool read_base_rows = !has_index && !options.dataset.empty();
  const bool generate_base = !has_index && options.dataset.empty();
  const bool queries_from_file = !options.queries.empty() || !options.dataset.empty();
  if (read_base_rows) read_base(options, work, console);
  if (generate_base || !queries_from_file) {
    generate(options, generate_base, queries_from_file ? 0 : most_queries, work, console);
  }
  if (queries_from_file) read_queries(options, most_queries, work, console);
  if (!has_index) {
    round_rows(options, work.dataset, work.base);
    round_rows(options, work.source, work.queries);
  }
  return work;
}

}  // namespace ivf::cli

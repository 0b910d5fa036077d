// Range search: every row whose approximate score might pass goes to the host, which re-computes it canonically.

#include "backends/torch/range.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "parallel.h"

namespace ivf::detail::torch_backend {
namespace {

/// At least the filter's score of every row whose canonical score is below `limit`.
float filter_limit(float limit, const QueryFacts& facts, bool inner_product) noexcept {
  const double bound =
      static_cast<double>(limit) - (inner_product ? 0.0 : facts.square) + static_cast<double>(facts.doubt);
  const auto rounded = static_cast<float>(bound);
  return std::nextafter(rounded, std::numeric_limits<float>::infinity());
}

/// The rows of one batch of queries that the filter lets through: positions for each query.
std::vector<std::vector<std::int64_t>> passing_rows(const DeviceCorpus& corpus, const Batch& batch,
                                                    const std::vector<float>& limits, std::uint64_t memory,
                                                    SearchStats& stats) {
  std::vector<std::vector<std::int64_t>> found(limits.size());
  const at::Tensor most = corpus.runtime().upload(limits.data(), limits.size(), at::kFloat).view({-1, 1});
  for_scores(corpus, batch, memory, stats, [&](const Candidates& part) {
    const at::Tensor keep = at::logical_and(part.scores <= most, part.scores < std::numeric_limits<double>::infinity());
    const at::Tensor places = at::nonzero(keep).to(at::kCPU).contiguous();  // LibTorch may give it column by column.
    at::Tensor positions = places.select(1, 1) + part.first;
    if (part.starts.defined()) {
      const at::Tensor lane = at::arange(group_rows, part.starts.options());
      positions = at::masked_select((part.starts.unsqueeze(2) + lane).view_as(keep), keep).to(at::kCPU);
    }
    stats.host_syncs += corpus.runtime().on_host() ? 0 : 2;
    const auto* where = places.data_ptr<std::int64_t>();
    const auto* rows = positions.data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < places.size(0); ++i) found[static_cast<std::size_t>(where[2 * i])].push_back(rows[i]);
  });
  return found;
}

using Hits = std::vector<std::pair<float, idx_t>>;

/// The rows of one query that are within the radius, best first.
Hits hits_of(const HostRows& rows, const float* query, const std::vector<std::int64_t>& positions, float radius) {
  const bool ip = rows.inner_product();
  std::vector<float> values(positions.size());
  rows.values(query, positions.data(), positions.size(), values.data());
  Hits hits;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float value = 0.0f + values[i];
    if (ip ? value > radius : value < radius)
      hits.emplace_back(value, rows.id(static_cast<std::uint64_t>(positions[i])));
  }
  std::sort(hits.begin(), hits.end(), [ip](const auto& a, const auto& b) {
    if (a.first != b.first) return ip ? a.first > b.first : a.first < b.first;
    return a.second < b.second;
  });
  return hits;
}

}  // namespace

RangeHits search_range(const std::shared_ptr<const Runtime>& runtime, DeviceType dtype, const ScanRequest& request,
                       float radius, SearchStats& stats) {
  const auto corpus = searched_rows(runtime, request, dtype);
  const bool ip = corpus->inner_product();
  const std::size_t nq = request.queries.rows;
  RangeHits result;
  result.hits.resize(nq);
  if (corpus->count() == 0) return result;
  constexpr std::size_t batch_rows = 1024;  // A piece of their scores has columns enough in any memory.
  for (std::size_t first = 0; first < nq; first += batch_rows) {
    const MatrixView queries = request.queries.slice(first, std::min(batch_rows, nq - first));
    Batch batch;
    batch.queries = upload_rows(*runtime, queries, request.threads);
    batch.max_codes = request.max_codes;
    const at::Tensor lists = canonical_lists(runtime, request, first, queries, stats);
    if (lists.defined()) probe_lists(*corpus, lists, request.coarse != nullptr, batch);
    const auto facts = query_facts(*corpus, queries, request.threads, batch.wild);
    std::vector<float> limits(queries.rows);
    for (std::size_t i = 0; i < limits.size(); ++i) limits[i] = filter_limit(ip ? -radius : radius, facts[i], ip);
    const auto found = passing_rows(*corpus, batch, limits, request.max_memory / 4, stats);
    parallel_for(request.threads, queries.rows, 4, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t i = begin; i < end; ++i) {
        result.hits[first + i] = hits_of(corpus->host(), queries.row(i), found[i], radius);
      }
    });
    for (const auto& rows : found) stats.rows_refined += rows.size();
    if (request.progress != nullptr && *request.progress) (*request.progress)("search", first + queries.rows, nq);
  }
  return result;
}

}  // namespace ivf::detail::torch_backend

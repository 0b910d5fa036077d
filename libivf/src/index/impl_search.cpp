// Searching: the coarse step, and batches of queries that keep the workspace within its cap.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "index/checks.h"
#include "index/impl.h"
#include "parallel.h"
#include "rows.h"

namespace ivf {
namespace {

using detail::Resources;
using detail::ScanRequest;

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

void check_k(std::size_t k) {
  if (k >= 1 && k <= detail::max_k) return;
  throw Error(ErrorKind::misuse, fmt::format("expected k of 1 to {}, found {}", detail::max_k, k));
}

/// What one batch of queries needs besides the backend's own workspace.
struct BatchBuffers {
  std::vector<float> queries;  ///< Normalised copies, for cosine.
  std::vector<float> bounds;   ///< Of queries and centroids.
  std::vector<idx_t> ids;
  std::vector<std::int32_t> lists;
};

}  // namespace

/// Runs the coarse step and the scan of `queries` in batches: scan(request, first) is called for each.
class BatchedScan {
 public:
  BatchedScan(const IndexImpl& index, const detail::Corpus& corpus, MatrixView queries, const SearchParams& params,
              bool exact)
      : backend_(index.backend()),
        corpus_(corpus),
        queries_(queries),
        params_(params),
        resources_(Resources::of(params)),
        normalize_(index.parameters().metric == Metric::cosine),
        nprobe_(exact || index.flat() ? 0 : std::min<std::size_t>(params.nprobe, index.parameters().nlist)),
        max_codes_(exact ? 0 : params.max_codes) {
    detail::check_matrix(queries, index.parameters().dim, "queries", resources_.threads);
    if (params.nprobe == 0) throw Error(ErrorKind::misuse, "expected nprobe of at least 1, found 0");
    if (nprobe_ != 0) centroids_ = index.placed_centroids();  // Throws when the index is not trained.
  }

  template <class Scan>
  void run(SearchStats& stats, Scan scan) {
    const std::size_t host_probes = backend_.probes() ? 0 : nprobe_;
    const std::size_t per_query = host_probes * (sizeof(float) + sizeof(idx_t) + sizeof(std::int32_t)) +
                                  (normalize_ ? queries_.dim * sizeof(float) : 0);
    // The backend gets what this leaves: at least half.
    const std::size_t batch =
        std::clamp<std::size_t>(per_query == 0 ? queries_.rows : resources_.max_memory / 2 / per_query, 1,
                                std::max<std::size_t>(queries_.rows, 1));
    BatchBuffers buffers;
    for (std::size_t first = 0; first < queries_.rows; first += batch) {
      const std::size_t count = std::min(batch, queries_.rows - first);
      const Progress progress = shifted_progress(first);
      ScanRequest request;
      request.corpus = &corpus_;
      request.queries = prepare(queries_.slice(first, count), buffers);
      request.max_codes = max_codes_;
      request.mode = params_.mode;
      request.profile = params_.profile;
      request.threads = resources_.threads;
      request.max_memory = resources_.max_memory - std::min(resources_.max_memory / 2, count * per_query);
      request.progress = &progress;
      if (host_probes != 0) {
        coarse(request, buffers, stats);
      } else if (nprobe_ != 0) {
        request.coarse = &centroids_;
        request.coarse_nprobe = nprobe_;
      }
      scan(request, first);
    }
    stats.threads = resources_.threads;
    if (stats.isa.empty()) stats.isa = backend_.isa();  // A backend may have passed the work on.
  }

 private:
  /// Backends count the queries of one batch; the caller counts all of them.
  Progress shifted_progress(std::size_t first) const {
    if (!params_.progress) return {};
    return [this, first](const char* phase, std::uint64_t done, std::uint64_t) {
      params_.progress(phase, first + done, queries_.rows);
    };
  }

  MatrixView prepare(MatrixView queries, BatchBuffers& buffers) const {
    if (!normalize_) return queries;
    buffers.queries.resize(queries.rows * queries.dim);
    detail::parallel_for(resources_.threads, queries.rows, 256, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t i = begin; i < end; ++i) {
        detail::normalize_row(queries.row(i), queries.dim, buffers.queries.data() + i * queries.dim);
      }
    });
    return MatrixView(buffers.queries.data(), queries.rows, queries.dim);
  }

  void coarse(ScanRequest& request, BatchBuffers& buffers, SearchStats& stats) const {
    const auto start = std::chrono::steady_clock::now();
    const std::size_t probes = request.queries.rows * nprobe_;
    buffers.lists.resize(probes);
    buffers.bounds.resize(probes);
    ScanRequest step = request;
    step.corpus = &centroids_;
    step.max_codes = 0;
    step.mode = SearchMode::automatic;
    step.progress = nullptr;
    SearchStats unused;  // The statistics of a search are those of its lists.
    if (max_codes_ == 0) {
      backend_.probe(step, nprobe_, buffers.lists.data(), buffers.bounds.data(), unused);
      request.probes = {buffers.lists.data(), buffers.bounds.data(), nprobe_};
    } else {
      // The cap counts rows in probe order: here the order matters, not only the set.
      buffers.ids.resize(probes);
      backend_.topk(step, nprobe_, buffers.bounds.data(), buffers.ids.data(), unused);
      std::transform(buffers.ids.begin(), buffers.ids.end(), buffers.lists.begin(),
                     [](idx_t id) { return static_cast<std::int32_t>(id); });
      request.probes = {buffers.lists.data(), step.corpus->inner_product ? nullptr : buffers.bounds.data(), nprobe_};
    }
    stats.coarse_ms += milliseconds_since(start);
  }

  detail::Backend& backend_;
  const detail::Corpus& corpus_;
  detail::Corpus centroids_;
  MatrixView queries_;
  const SearchParams& params_;
  Resources resources_;
  bool normalize_;
  std::size_t nprobe_;  ///< 0: every query scans every list, without a coarse step.
  std::uint64_t max_codes_;
};

SearchResult IndexImpl::search(MatrixView queries, const SearchParams& params, bool exact) const {
  check_k(params.k);
  detail::Corpus corpus = placed_rows();
  BatchedScan scan(*this, corpus, queries, params, exact);
  SearchResult result;
  result.nq = queries.rows;
  result.k = params.k;
  std::shared_ptr<const detail::AllowedRows> allowed;
  if (params.filter.ids != nullptr) {
    allowed = allowed_rows(params.filter, Resources::of(params).threads);
    SearchParams scanned = params;
    if (exact) scanned.max_codes = 0;
    if (detail::scans_directly(scanned, *allowed, rows(), exact ? 1 : parameters_.nlist)) {
      return search_allowed(*allowed, queries, params);
    }
    corpus.hidden = allowed->hidden_views();
    result.stats.filter_plan = FilterPlan::scan;
    result.stats.rows_allowed = allowed->count;
  }
  result.distances.resize(queries.rows * params.k);
  result.ids.resize(queries.rows * params.k);
  scan.run(result.stats, [&](const detail::ScanRequest& request, std::size_t first) {
    backend().topk(request, params.k, result.distances.data() + first * params.k, result.ids.data() + first * params.k,
                   result.stats);
  });
  return result;
}

namespace {

class PlacedSearch final : public PlacedQueries {
 public:
  PlacedSearch(const IndexImpl& index, MatrixView queries, const SearchParams& params)
      : backend_(index.backend()),
        params_(params),
        corpus_(index.placed_rows()),
        scan_(index, corpus_, queries, params_, false) {
    SearchStats unused;
    scan_.run(unused, [&](const ScanRequest& request, std::size_t) {
      auto held = backend_.hold_queries(request.queries, params_.k);
      if (held == nullptr) {
        const DeviceInfo device = backend_.device();
        throw Error(
            ErrorKind::misuse,
            fmt::format("expected kernels of ivf on a device with memory of its own for queries that stay "
                        "there (--resident), found {} ({}); choose such a device, or let queries come from the host",
                        device.name, device.backend));
      }
      ScanRequest mine = request;
      mine.queries.data = nullptr;
      mine.progress = nullptr;
      mine.held = held.get();
      parts_.push_back({mine, std::move(held)});
    });
  }

  void search() override {
    SearchStats unused;
    for (const Part& part : parts_) backend_.topk(part.request, params_.k, nullptr, nullptr, unused);
  }

  SearchResult results() const override {
    SearchResult result;
    result.k = params_.k;
    for (const Part& part : parts_) result.nq += part.request.queries.rows;
    result.distances.resize(result.nq * result.k);
    result.ids.resize(result.nq * result.k);
    std::size_t first = 0;
    for (const Part& part : parts_) {
      part.held->fetch(result.distances.data() + first * result.k, result.ids.data() + first * result.k);
      first += part.request.queries.rows;
    }
    return result;
  }

 private:
  struct Part {
    ScanRequest request;
    std::unique_ptr<detail::HeldQueries> held;
  };

  detail::Backend& backend_;
  SearchParams params_;
  detail::Corpus corpus_;
  BatchedScan scan_;
  std::vector<Part> parts_;
};

}  // namespace

std::unique_ptr<PlacedQueries> IndexImpl::place_queries(MatrixView queries, const SearchParams& params) const {
  check_k(params.k);
  if (params.filter.ids != nullptr) {
    throw Error(ErrorKind::misuse, "expected no filter for queries that stay on a device, found one; search without");
  }
  return std::make_unique<PlacedSearch>(*this, queries, params);
}

std::shared_ptr<const detail::AllowedRows> IndexImpl::allowed_rows(const Filter& filter, unsigned threads) const {
  const std::lock_guard lock(filter_cache_->mutex);
  FilterCache& cache = *filter_cache_;
  if (cache.rows == nullptr || cache.ids != filter.ids || cache.forbid != filter.forbid) {
    cache.rows = std::make_shared<const detail::AllowedRows>(segments(), filter, threads);
    cache.ids = filter.ids;
    cache.forbid = filter.forbid;
  }
  return cache.rows;
}

SearchResult IndexImpl::search_allowed(const detail::AllowedRows& allowed, MatrixView queries,
                                       const SearchParams& params) const {
  SearchResult result;
  result.nq = queries.rows;
  result.k = params.k;
  const Resources resources = Resources::of(params);
  SearchParams of_block = params;  // The blocks have the other half.
  of_block.max_memory = std::max<std::uint64_t>(resources.max_memory / 2, 1);
  detail::BestRows best(queries.rows, params.k, !detail::is_inner_product(parameters_.metric));
  detail::AllowedBlocks blocks(corpus_, allowed, resources);
  std::vector<float> values(queries.rows * params.k);
  std::vector<idx_t> ids(queries.rows * params.k);
  while (const detail::Corpus* block = blocks.next()) {
    BatchedScan scan(*this, *block, queries, of_block, true);
    scan.run(result.stats, [&](const detail::ScanRequest& request, std::size_t first) {
      backend().topk(request, params.k, values.data() + first * params.k, ids.data() + first * params.k, result.stats);
    });
    best.merge(values, ids, resources.threads);
  }
  best.take(result.distances, result.ids);
  result.stats.filter_plan = FilterPlan::direct;
  result.stats.rows_allowed = allowed.count;
  return result;
}

RangeResult IndexImpl::range_search(MatrixView queries, float radius, const SearchParams& params) const {
  if (radius != radius) throw Error(ErrorKind::misuse, "expected a radius, found NaN");
  detail::Corpus corpus = placed_rows();
  BatchedScan scan(*this, corpus, queries, params, false);
  RangeResult result;
  std::shared_ptr<const detail::AllowedRows> allowed;
  if (params.filter.ids != nullptr) {
    allowed = allowed_rows(params.filter, Resources::of(params).threads);
    corpus.hidden = allowed->hidden_views();
    result.stats.filter_plan = FilterPlan::scan;
    result.stats.rows_allowed = allowed->count;
  }
  result.lims.reserve(queries.rows + 1);
  result.lims.push_back(0);
  scan.run(result.stats, [&](const detail::ScanRequest& request, std::size_t) {
    const auto found = backend().range(request, radius, result.stats);
    for (const auto& hits : found.hits) {
      for (const auto& [value, id] : hits) {
        result.distances.push_back(value);
        result.ids.push_back(id);
      }
      result.lims.push_back(result.ids.size());
    }
  });
  return result;
}

}  // namespace ivf

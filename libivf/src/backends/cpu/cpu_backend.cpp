#include "backends/cpu/cpu_backend.h"

#include <algorithm>
#include <chrono>

#include "backends/cpu/bounds.h"
#include "backends/cpu/held_rows.h"
#include "backends/cpu/nearest.h"
#include "backends/cpu/scan_job.h"
#include "parallel.h"

namespace ivf::detail::cpu {
namespace {

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return ms;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// A corpus that stays in the second-level cache (centroids) is scanned by every thread for itself, a block of queries
// at a time, so that the queries' candidates stay there too and no thread waits for another.
constexpr std::size_t resident_bytes = std::size_t{1} << 20;
constexpr std::size_t resident_block = 256;

// Fewer rows do not repay what Nearest prepares of all centroids.
constexpr std::size_t nearest_rows_min = 32;

template <class Finish>
void run_resident(const Kernels& kernels, WorkspacePool& workspaces, const ScanRequest& request, std::size_t k,
                  float limit, SearchStats& stats, const Finish& finish) {
  const std::size_t nq = request.queries.rows;
  std::vector<SearchStats> parts(request.threads);
  ScanRequest alone = request;
  alone.threads = 1;
  Stopwatch watch;
  // Two blocks a thread where each fills a tile; with fewer queries, every thread gets its share of them.
  const std::size_t share = (nq + request.threads * 2 - 1) / (request.threads * 2);
  const std::size_t even_share = (nq + request.threads - 1) / request.threads;
  const std::size_t block = std::clamp(share, std::min(even_share, kernels.scan->tile), resident_block);
  parallel_for(request.threads, nq, block, [&](std::size_t begin, std::size_t end, unsigned thread) {
    ScanJob job(kernels, workspaces, alone, begin, end, k, limit);
    job.run(SearchMode::csr, parts[thread]);
    std::vector<Hit> hits;
    for (std::size_t q = begin; q < end; ++q) {
      job.pool().settle(q - begin);
      finish(job.pool(), q - begin, q, hits, parts[thread]);
    }
  });
  for (const auto& part : parts) add_counters(stats, part);
  stats.scan_ms += watch.lap();
  if (request.progress != nullptr && *request.progress) (*request.progress)("search", nq, nq);
}

/// Runs a request in batches that fit its memory, and ends each query with `finish(job, query in the job, query,
/// scratch, stats)`, on one thread a query.
template <class Finish>
void run_batches(const Kernels& kernels, WorkspacePool& workspaces, const ScanRequest& request, std::size_t k,
                 float limit, SearchStats& stats, const Finish& finish) {
  const Corpus& corpus = *request.corpus;
  const std::size_t nq = request.queries.rows;
  const std::size_t nprobe = request.probes.lists == nullptr ? corpus.nlist : request.probes.nprobe;
  stats.isa = kernels.level;
  stats.threads = request.threads;
  stats.avg_group_size = average_group(nq, nprobe, corpus.nlist);
  stats.auto_threshold = csr_threshold;
  stats.chosen_mode = choose_mode(request.mode, stats.avg_group_size);
  const std::size_t per_query = ScanJob::bytes_per_query(kernels, corpus.dim, k) + nprobe * 2 * sizeof(Groups::Member);
  const std::size_t memory = request.max_memory == 0 ? std::size_t{1} << 30 : request.max_memory;
  const std::size_t batch = std::clamp<std::size_t>(memory / per_query, 1, std::size_t{1} << 24);
  if (nq > 1 && stats.chosen_mode == SearchMode::csr && corpus.rows * corpus.dim * 2 <= resident_bytes) {
    run_resident(kernels, workspaces, request, k, limit, stats, finish);
    return;
  }
  for (std::size_t first = 0; first < nq; first += batch) {
    const std::size_t last = std::min(nq, first + batch);
    Stopwatch watch;
    ScanJob job(kernels, workspaces, request, first, last, k, limit);
    stats.group_ms += watch.lap();
    job.run(stats.chosen_mode, stats);
    stats.scan_ms += watch.lap();
    std::vector<SearchStats> refined(request.threads);
    parallel_for(request.threads, last - first, 64, [&](std::size_t begin, std::size_t end, unsigned thread) {
      std::vector<Hit> hits;
      // The rows of the next query arrive while those of this one are re-computed.
      const auto settle = [&](std::size_t q) {
        if (q >= end) return;
        job.pool().settle(q);
        job.pool().prefetch_rows(q);
      };
      settle(begin);
      for (std::size_t q = begin; q < end; ++q) {
        settle(q + 1);
        finish(job.pool(), q, first + q, hits, refined[thread]);
      }
    });
    for (const auto& part : refined) add_counters(stats, part);
    stats.refine_ms += watch.lap();
    if (request.progress != nullptr && *request.progress) (*request.progress)("search", last, nq);
  }
}

/// The canonical value behind a score. A zero is always +0: sums that underflow to -0 are equal to +0 in the order, and
/// rows that share an id would otherwise come out in either order.
float value_of(float score, bool inner_product) { return inner_product ? 0.0f - score : score; }

}  // namespace

DeviceInfo CpuBackend::device() const {
  DeviceInfo info;
  info.name = "cpu";
  info.backend = name();
  info.detail = kernels_.level;
  return info;
}

void CpuBackend::topk(const ScanRequest& request, std::size_t k, float* values, idx_t* ids, SearchStats& stats) {
  const bool ip = request.corpus->inner_product;
  const auto finish = [&](QueryPool& pool, std::size_t local, std::size_t q, std::vector<Hit>& hits,
                          SearchStats& refined) {
    pool.finish(local, hits, refined);
    for (std::size_t i = 0; i < k; ++i) {
      const bool found = i < hits.size();
      values[q * k + i] = value_of(found ? hits[i].score : infinity, ip);
      ids[q * k + i] = found ? hits[i].id : -1;
    }
  };
  run_batches(kernels_, workspaces_, request, k, infinity, stats, finish);
}

void CpuBackend::probe(const ScanRequest& request, std::size_t k, std::int32_t* lists, float* bounds,
                       SearchStats& stats) {
  const auto finish = [&](QueryPool& pool, std::size_t local, std::size_t q, std::vector<Hit>& hits,
                          SearchStats& refined) {
    pool.finish_set(local, hits, refined);
    for (std::size_t i = 0; i < k; ++i) {
      const bool found = i < hits.size();
      bounds[q * k + i] = found ? hits[i].score : infinity;
      lists[q * k + i] = found ? static_cast<std::int32_t>(hits[i].id) : -1;
    }
  };
  run_batches(kernels_, workspaces_, request, k, infinity, stats, finish);
}

RangeHits CpuBackend::range(const ScanRequest& request, float radius, SearchStats& stats) {
  const bool ip = request.corpus->inner_product;
  RangeHits result;
  result.hits.resize(request.queries.rows);
  const auto finish = [&](QueryPool& pool, std::size_t local, std::size_t q, std::vector<Hit>& hits,
                          SearchStats& refined) {
    pool.finish(local, hits, refined);
    result.hits[q].reserve(hits.size());
    for (const Hit& hit : hits) result.hits[q].emplace_back(value_of(hit.score, ip), hit.id);
  };
  run_batches(kernels_, workspaces_, request, 0, ip ? -radius : radius, stats, finish);
  return result;
}

void CpuBackend::assign(const Corpus& centroids, MatrixView rows, std::int32_t* list, float* value, unsigned threads) {
  if (rows.rows >= nearest_rows_min) {
    Nearest(kernels_, centroids, threads).find({rows, nullptr, false, nullptr, list, value});
    return;
  }
  ScanRequest request;
  request.corpus = &centroids;
  request.queries = rows;
  request.threads = threads;
  request.mode = SearchMode::csr;
  SearchStats stats;
  const auto finish = [&](QueryPool& pool, std::size_t local, std::size_t q, std::vector<Hit>& hits,
                          SearchStats& refined) {
    if (value == nullptr) {
      pool.finish_set(local, hits, refined);  // Most rows have one candidate left: no value is needed to name it.
    } else {
      pool.finish(local, hits, refined);
      value[q] = hits.empty() ? 0.0f : value_of(hits[0].score, centroids.inner_product);
    }
    list[q] = hits.empty() ? -1 : static_cast<std::int32_t>(hits[0].id);
  };
  run_batches(kernels_, workspaces_, request, 1, infinity, stats, finish);
}

std::unique_ptr<HeldRows> CpuBackend::hold(MatrixView rows, unsigned threads, std::uint64_t) {
  return std::make_unique<CpuHeldRows>(kernels_, rows, threads);
}

}  // namespace ivf::detail::cpu

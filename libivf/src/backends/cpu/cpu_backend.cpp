#include "backends/cpu/cpu_backend.h"

#include <algorithm>
#include <limits>

#include "parallel.h"

namespace ivf::detail::cpu {
namespace {

struct Hit {
  float value;
  idx_t id;
};

void collect(const Kernels& kernels, const ScanRequest& request, std::size_t q, std::vector<Hit>& hits) {
  const Corpus& corpus = *request.corpus;
  std::uint64_t left = request.max_codes == 0 ? std::numeric_limits<std::uint64_t>::max() : request.max_codes;
  const std::size_t nprobe = request.probes.lists == nullptr ? corpus.nlist : request.probes.nprobe;
  std::vector<std::uint64_t> rows;
  std::vector<float> values;
  for (std::size_t p = 0; p < nprobe && left > 0; ++p) {
    const std::int64_t list =
        request.probes.lists == nullptr ? static_cast<std::int64_t>(p) : request.probes.lists[q * nprobe + p];
    if (list < 0) continue;
    std::uint64_t base = 0;
    for (const auto& segment : corpus.segments) {
      const std::uint64_t begin = segment.offsets[list];
      const std::uint64_t end = begin + std::min<std::uint64_t>(left, segment.offsets[list + 1] - begin);
      left -= end - begin;
      rows.resize(end - begin);
      values.resize(end - begin);
      for (std::uint64_t r = begin; r < end; ++r) rows[r - begin] = r;
      const RefineArgs args{request.queries.row(q), segment.planes.hi.data(),
                            segment.planes.lo.empty() ? nullptr : segment.planes.lo.data(), corpus.dim, rows.data(), rows.size(),
                            values.data()};
      (corpus.inner_product ? kernels.refine_ip : kernels.refine_l2)(&args);
      for (std::uint64_t r = begin; r < end; ++r) {
        hits.push_back({values[r - begin], segment.ids.empty() ? static_cast<idx_t>(base + r) : segment.ids[r]});
      }
      base += segment.rows;
    }
  }
  std::sort(hits.begin(), hits.end(), [ip = corpus.inner_product](const Hit& a, const Hit& b) {
    if (a.value != b.value) return ip ? a.value > b.value : a.value < b.value;
    return a.id < b.id;
  });
}

}  // namespace

void CpuBackend::topk(const ScanRequest& request, std::size_t k, float* values, idx_t* ids, SearchStats& stats) {
  stats.isa = kernels_.level;
  stats.threads = request.threads;
  const float missing = std::numeric_limits<float>::infinity() * (request.corpus->inner_product ? -1.0f : 1.0f);
  parallel_for(request.threads, request.queries.rows, 1, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t q = begin; q < end; ++q) {
      std::vector<Hit> hits;
      collect(kernels_, request, q, hits);
      for (std::size_t i = 0; i < k; ++i) {
        values[q * k + i] = i < hits.size() ? hits[i].value : missing;
        ids[q * k + i] = i < hits.size() ? hits[i].id : -1;
      }
    }
  });
}

RangeHits CpuBackend::range(const ScanRequest& request, float radius, SearchStats& stats) {
  stats.isa = kernels_.level;
  RangeHits result;
  result.hits.resize(request.queries.rows);
  for (std::size_t q = 0; q < request.queries.rows; ++q) {
    std::vector<Hit> hits;
    collect(kernels_, request, q, hits);
    for (const Hit& hit : hits) {
      if (request.corpus->inner_product ? hit.value > radius : hit.value < radius) result.hits[q].emplace_back(hit.value, hit.id);
    }
  }
  return result;
}

void CpuBackend::assign(const Corpus& centroids, MatrixView rows, const std::int32_t*, std::int32_t* list, float* value,
                        unsigned threads) {
  ScanRequest request;
  request.corpus = &centroids;
  request.queries = rows;
  request.threads = threads;
  SearchStats stats;
  std::vector<idx_t> ids(rows.rows);
  std::vector<float> values(rows.rows);
  topk(request, 1, values.data(), ids.data(), stats);
  for (std::size_t i = 0; i < rows.rows; ++i) {
    list[i] = static_cast<std::int32_t>(ids[i]);
    if (value != nullptr) value[i] = values[i];
  }
}

}  // namespace ivf::detail::cpu

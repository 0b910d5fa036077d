#include "backends/torch/gpu_backend.h"

#include <fmt/format.h>

#include "backends/torch/gpu_peak.h"
#include "backends/torch/gpu_rows.h"
#include "backends/torch/native.h"

namespace ivf::detail::torch_backend {

GpuBackend::GpuBackend(std::shared_ptr<GpuDevice> device)
    : device_(std::move(device)), portable_(device_->runtime(), DeviceType::float32) {}

DeviceInfo GpuBackend::device() const {
  DeviceInfo info = device_->runtime()->describe();
  describe_native(info, device_->isa());
  return info;
}

DevicePeak GpuBackend::measure_peak() const { return torch_backend::measure_peak(*device_); }

std::shared_ptr<const Resident> GpuBackend::load(const Corpus& corpus, const gpu::Part& part) {
  return std::make_shared<const GpuCorpus>(device_, corpus, part);
}

bool GpuBackend::takes(const ScanRequest& request, std::size_t k) const {
  SearchStats unused;
  return GpuSearch(device_, request, k, unused).possible();
}

std::unique_ptr<HeldQueries> GpuBackend::hold_queries(MatrixView queries, std::size_t k) {
  return std::make_unique<GpuQueries>(device_, queries, k);
}

template <class Body>
auto GpuBackend::by_portable(const ScanRequest& request, const GpuCorpus& corpus, const GpuCorpus* centroids,
                             SearchStats& stats, Body body) {
  ScanRequest again = request;
  Corpus rows = *request.corpus, nearest;
  rows.resident = corpus.portable(portable_);
  again.corpus = &rows;
  if (centroids != nullptr) {
    nearest = *request.coarse;
    nearest.resident = centroids->portable(portable_);
    again.coarse = &nearest;
  }
  stats.isa = portable_.isa();
  return body(again);
}

void GpuBackend::topk(const ScanRequest& request, std::size_t k, float* values, idx_t* ids, SearchStats& stats) {
  GpuSearch search(device_, request, k, stats);
  if (search.possible()) {
    stats.isa = isa();
    if (request.held != nullptr) {
      search.run_held();
    } else {
      search.run(values, ids);
    }
    return;
  }
  if (request.held != nullptr) {
    throw Error(
        ErrorKind::misuse,
        fmt::format("{}: expected a search that the GPU engine does for queries that stay there, found k {} and "
                    "nprobe {} of an index of {} rows of dimension {}; let queries come from the host",
                    device_->runtime()->name(), k, request.coarse_nprobe, request.corpus->rows, request.corpus->dim));
  }
  by_portable(request, search.corpus(), search.centroids(), stats,
              [&](const ScanRequest& again) { portable_.topk(again, k, values, ids, stats); });
}

void GpuBackend::probe(const ScanRequest& request, std::size_t k, std::int32_t* lists, float* bounds,
                       SearchStats& stats) {
  probe_by_topk(*this, request, k, lists, bounds, stats);
}

RangeHits GpuBackend::range(const ScanRequest& request, float radius, SearchStats& stats) {
  GpuSearch search(device_, request, 1, stats);
  if (search.possible()) {
    stats.isa = isa();
    return search.run_range(radius);
  }
  return by_portable(request, search.corpus(), search.centroids(), stats,
                     [&](const ScanRequest& again) { return portable_.range(again, radius, stats); });
}

void GpuBackend::assign(const Corpus& centroids, MatrixView rows, std::int32_t* list, float* value, unsigned threads) {
  Corpus placed = centroids;
  const auto on_device = gpu_corpus_of(device_, centroids);
  placed.resident = engine_takes(rows.dim) ? on_device : on_device->portable(portable_);
  hold(rows, threads, 0)->assign(placed, list, value);
}

std::unique_ptr<HeldRows> GpuBackend::hold(MatrixView rows, unsigned threads, std::uint64_t max_memory) {
  if (!engine_takes(rows.dim)) return portable_.hold(rows, threads, max_memory);
  return std::make_unique<GpuRows>(device_, rows, threads, max_memory);
}

}  // namespace ivf::detail::torch_backend

#include "backends/torch/torch_backend.h"

#include "backends/torch/held_rows.h"
#include "backends/torch/range.h"

namespace ivf::detail::torch_backend {

double auto_threshold(std::size_t nlist) noexcept { return 2.0 * static_cast<double>(nlist) / 512; }

void probe_by_topk(Backend& backend, const ScanRequest& request, std::size_t k, std::int32_t* lists, float* bounds,
                   SearchStats& stats) {
  std::vector<idx_t> ids(request.queries.rows * k);
  backend.topk(request, k, bounds, ids.data(), stats);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    lists[i] = static_cast<std::int32_t>(ids[i]);
    if (request.corpus->inner_product) bounds[i] = -bounds[i];
  }
}

TorchBackend::TorchBackend(std::shared_ptr<const Runtime> runtime, DeviceType dtype)
    : runtime_(std::move(runtime)),
      dtype_(dtype),
      isa_("torch-" + runtime_->name().substr(0, runtime_->name().find(':'))) {}

std::shared_ptr<const Resident> TorchBackend::load(const Corpus& corpus) {
  // Centroids are a corpus without ids. They are few, and full precision spares the coarse step its doubts.
  const bool centroids = !corpus.segments.empty() && corpus.segments.front().ids.empty();
  return DeviceCorpus::load(runtime_, corpus, centroids ? DeviceType::float32 : dtype_);
}

void TorchBackend::topk(const ScanRequest& request, std::size_t k, float* values, idx_t* ids, SearchStats& stats) {
  on_device(*runtime_, request.threads, [&] { Search(runtime_, dtype_, request, k, stats).run(values, ids); });
}

void TorchBackend::probe(const ScanRequest& request, std::size_t k, std::int32_t* lists, float* bounds,
                         SearchStats& stats) {
  probe_by_topk(*this, request, k, lists, bounds, stats);
}

RangeHits TorchBackend::range(const ScanRequest& request, float radius, SearchStats& stats) {
  return on_device(*runtime_, request.threads, [&] { return search_range(runtime_, dtype_, request, radius, stats); });
}

void TorchBackend::assign(const Corpus& centroids, MatrixView rows, std::int32_t* list, float* value,
                          unsigned threads) {
  DeviceRows(runtime_, rows, threads, 0).assign(centroids, list, value);
}

std::unique_ptr<HeldRows> TorchBackend::hold(MatrixView rows, unsigned threads, std::uint64_t max_memory) {
  return std::make_unique<DeviceRows>(runtime_, rows, threads, max_memory);
}

}  // namespace ivf::detail::torch_backend

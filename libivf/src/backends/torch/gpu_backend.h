#pragma once
/// \file
/// The native backend of a GPU: the engine of backends/gpu in LibTorch's memory. What the engine does not do, the
/// portable backend does on the same device, with the same results.

#include "backends/torch/gpu_search.h"
#include "backends/torch/torch_backend.h"

namespace ivf::detail::torch_backend {

class GpuBackend final : public Backend {
 public:
  explicit GpuBackend(std::shared_ptr<GpuDevice> device);

  std::string_view name() const noexcept override { return "native"; }
  std::string_view isa() const noexcept override { return device_->isa(); }
  DeviceInfo device() const override;
  DevicePeak measure_peak() const override;
  bool probes() const noexcept override { return true; }
  std::shared_ptr<const Resident> load(const Corpus& corpus) override { return load(corpus, gpu::Part{}); }
  /// A part of a corpus. The engine finds what is in it; what the portable backend does is done with all rows.
  std::shared_ptr<const Resident> load(const Corpus& corpus, const gpu::Part& part);
  /// Whether the engine does such a search, for k results.
  bool takes(const ScanRequest& request, std::size_t k) const;

  std::unique_ptr<HeldQueries> hold_queries(MatrixView queries, std::size_t k) override;
  void topk(const ScanRequest& request, std::size_t k, float* values, idx_t* ids, SearchStats& stats) override;
  void probe(const ScanRequest& request, std::size_t k, std::int32_t* lists, float* bounds,
             SearchStats& stats) override;
  RangeHits range(const ScanRequest& request, float radius, SearchStats& stats) override;
  void assign(const Corpus& centroids, MatrixView rows, std::int32_t* list, float* value, unsigned threads) override;
  std::unique_ptr<HeldRows> hold(MatrixView rows, unsigned threads, std::uint64_t max_memory) override;

 private:
  /// Calls body(request) with the same request for the portable backend, which `stats` then name.
  template <class Body>
  auto by_portable(const ScanRequest& request, const GpuCorpus& corpus, const GpuCorpus* centroids, SearchStats& stats,
                   Body body);

  std::shared_ptr<GpuDevice> device_;
  TorchBackend portable_;
};

}  // namespace ivf::detail::torch_backend

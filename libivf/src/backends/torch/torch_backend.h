#pragma once
/// \file
/// The portable backend: the primitive with tensor operations on any device that LibTorch has.

#include <memory>

#include "backends/torch/resident.h"

namespace ivf::detail::torch_backend {

/// Average group size from which `auto` takes csr: in proportion to nlist, the rule of torch-ivf, with 2 at nlist 512
/// where that has 8 (docs/benchmarks.md has the sweep that sets it).
double auto_threshold(std::size_t nlist) noexcept;

/// Backend::probe() by topk(): its values are bounds, too.
void probe_by_topk(Backend& backend, const ScanRequest& request, std::size_t k, std::int32_t* lists, float* bounds,
                   SearchStats& stats);

class TorchBackend final : public Backend {
 public:
  TorchBackend(std::shared_ptr<const Runtime> runtime, DeviceType dtype);

  std::string_view name() const noexcept override { return "torch"; }
  std::string_view isa() const noexcept override { return isa_; }
  DeviceInfo device() const override { return runtime_->describe(); }
  bool probes() const noexcept override { return true; }
  std::shared_ptr<const Resident> load(const Corpus& corpus) override;

  void topk(const ScanRequest& request, std::size_t k, float* values, idx_t* ids, SearchStats& stats) override;
  void probe(const ScanRequest& request, std::size_t k, std::int32_t* lists, float* bounds,
             SearchStats& stats) override;
  RangeHits range(const ScanRequest& request, float radius, SearchStats& stats) override;
  void assign(const Corpus& centroids, MatrixView rows, std::int32_t* list, float* value, unsigned threads) override;
  std::unique_ptr<HeldRows> hold(MatrixView rows, unsigned threads, std::uint64_t max_memory) override;

 private:
  std::shared_ptr<const Runtime> runtime_;
  DeviceType dtype_;
  std::string isa_;
};

}  // namespace ivf::detail::torch_backend

#pragma once
/// \file
/// The native CPU backend: planning and threads in portable C++, arithmetic in the kernels of one level.

#include "backends/backend.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/scan_job.h"

namespace ivf::detail::cpu {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const Kernels& kernels) : kernels_(kernels) {}
  std::string_view name() const noexcept override { return "native"; }
  std::string_view isa() const noexcept override { return kernels_.level; }
  DeviceInfo device() const override;
  void topk(const ScanRequest& request, std::size_t k, float* values, idx_t* ids, SearchStats& stats) override;
  void probe(const ScanRequest& request, std::size_t k, std::int32_t* lists, float* bounds,
             SearchStats& stats) override;
  RangeHits range(const ScanRequest& request, float radius, SearchStats& stats) override;
  void assign(const Corpus& centroids, MatrixView rows, std::int32_t* list, float* value, unsigned threads) override;
  std::unique_ptr<HeldRows> hold(MatrixView rows, unsigned threads, std::uint64_t max_memory) override;

 private:
  const Kernels& kernels_;
  WorkspacePool workspaces_;
};

}  // namespace ivf::detail::cpu

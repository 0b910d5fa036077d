#pragma once
/// \file
/// A corpus on a GPU: as the native engine keeps it and, once something needs it, as tensors besides.

#include <memory>
#include <mutex>

#include "backends/torch/gpu_device.h"

namespace ivf::detail::torch_backend {

/// Whether the engine takes vectors of this dimension.
bool engine_takes(std::size_t dim) noexcept;

class GpuCorpus final : public Resident {
 public:
  /// Throws Error(failed), before anything is allocated, when the device has no room.
  GpuCorpus(std::shared_ptr<GpuDevice> device, const Corpus& corpus);

  /// Null: the engine does not take such a corpus.
  const gpu::DeviceCorpus* rows() const noexcept { return rows_.get(); }
  std::uint64_t count() const noexcept { return count_; }
  /// The same rows for the portable backend, brought there when they are first asked for.
  std::shared_ptr<const Resident> portable(Backend& backend) const;

 private:
  std::shared_ptr<GpuDevice> device_;
  Corpus corpus_;  ///< Views of the host's rows.
  std::uint64_t count_;
  Reservation reserved_;
  std::unique_ptr<gpu::DeviceCorpus> rows_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const Resident> portable_;
};

}  // namespace ivf::detail::torch_backend

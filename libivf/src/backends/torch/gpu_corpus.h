#pragma once
/// \file
/// A corpus, or a part of one, on a GPU: as the native engine keeps it and, once something needs it, as tensors
/// besides.

#include <memory>
#include <mutex>

#include "backends/gpu/parted.h"
#include "backends/torch/gpu_device.h"

namespace ivf::detail::torch_backend {

/// Rows of a corpus that were not removed.
std::uint64_t live_rows(const Corpus& corpus);
/// Whether the engine takes vectors of this dimension.
bool engine_takes(std::size_t dim) noexcept;

class GpuCorpus final : public Resident {
 public:
  /// Throws Error(failed), before anything is allocated, when the device has no room.
  GpuCorpus(std::shared_ptr<GpuDevice> device, const Corpus& corpus, const gpu::Part& part = {});

  /// Null: the engine does not take such a corpus, or not as a whole.
  const gpu::DeviceCorpus* rows() const noexcept { return rows_.get(); }
  /// Not null: the rows do not fit, and are searched part by part.
  gpu::PartedCorpus* parted() const noexcept { return parted_.get(); }
  std::uint64_t count() const noexcept { return count_; }
  /// All rows of the corpus for the portable backend, brought there when they are first asked for.
  std::shared_ptr<const Resident> portable(Backend& backend) const;

 private:
  void reserve(std::uint64_t bytes);

  std::shared_ptr<GpuDevice> device_;
  Corpus corpus_;  ///< Views of the host's rows.
  std::uint64_t count_ = 0;
  Reservation reserved_;
  std::unique_ptr<gpu::DeviceCorpus> rows_;
  std::unique_ptr<gpu::PartedCorpus> parted_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const Resident> portable_;
};

}  // namespace ivf::detail::torch_backend

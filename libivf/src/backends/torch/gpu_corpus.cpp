#include "backends/torch/gpu_corpus.h"

#include <limits>

#include <fmt/format.h>

#include "ivf/format/row_bits.hpp"
#include "parallel.h"

namespace ivf::detail::torch_backend {
namespace {

std::uint64_t live_rows(const Corpus& corpus) {
  std::uint64_t count = corpus.rows;
  for (const auto& segment : corpus.segments) count -= format::count_rows(segment.removed);
  return count;
}

/// The engine counts rows, with what pads each list to a multiple of eight, in 32 bits.
bool has_places_for(const Corpus& corpus) {
  constexpr std::uint64_t most_places = std::numeric_limits<std::uint32_t>::max() - 65536u;
  return engine_takes(corpus.dim) && corpus.rows + 7 * corpus.nlist <= most_places;
}

}  // namespace

bool engine_takes(std::size_t dim) noexcept {
  constexpr std::size_t most_dim = 4096;  // What a multiprocessor has room for, in its smallest tile of queries.
  return dim <= most_dim;
}

GpuCorpus::GpuCorpus(std::shared_ptr<GpuDevice> device, const Corpus& corpus)
    : device_(std::move(device)), corpus_(corpus), count_(live_rows(corpus)) {
  corpus_.resident.reset();
  corpus_.hidden.clear();
  if (!has_places_for(corpus_)) return;
  reserved_ = Reservation(device_->runtime(), gpu::Engine::bytes_needed(corpus_),
                          fmt::format("{} rows of dimension {}", count_, corpus.dim));
  device_->run(available_threads(), [&](gpu::Engine& engine) { rows_ = engine.load(corpus_, default_stream); });
}

std::shared_ptr<const Resident> GpuCorpus::portable(Backend& backend) const {
  const std::lock_guard lock(mutex_);
  if (portable_ == nullptr) portable_ = backend.load(corpus_);
  return portable_;
}

}  // namespace ivf::detail::torch_backend

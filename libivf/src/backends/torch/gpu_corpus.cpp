#include "backends/torch/gpu_corpus.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "ivf/format/row_bits.hpp"
#include "parallel.h"

namespace ivf::detail::torch_backend {
namespace {

/// The engine counts rows, with what pads each list to a multiple of eight, in 32 bits.
bool has_places_for(std::uint64_t rows, const Corpus& corpus) {
  constexpr std::uint64_t most_places = std::numeric_limits<std::uint32_t>::max() - 65536u;
  return engine_takes(corpus.dim) && rows + 7 * corpus.nlist <= most_places;
}

/// Bytes that IVF_DEVICE_MEMORY allows the rows of indexes on a device; nothing when it is not set.
std::optional<std::uint64_t> allowed_memory() {
  const char* text = std::getenv("IVF_DEVICE_MEMORY");
  if (text == nullptr || *text == '\0') return std::nullopt;
  std::uint64_t bytes = 0;
  const char* last = text + std::strlen(text);
  const auto [end, error] = std::from_chars(text, last, bytes);
  if (error == std::errc() && end == last) return bytes;
  throw Error(ErrorKind::misuse, fmt::format("IVF_DEVICE_MEMORY: expected a number of bytes, found '{}'", text));
}

/// Bytes that an index may take on a device beside the work of searches; nothing when that is not known.
std::optional<std::uint64_t> room_for_rows(const Runtime& runtime) {
  const DeviceLedger& ledger = runtime.ledger();
  const std::uint64_t held = ledger.held.load();
  std::optional<std::uint64_t> room;
  if (const DeviceInfo info = runtime.describe(); info.total_memory != 0) {
    // LibTorch keeps what was freed for its next allocation, and the driver counts that as used.
    const std::uint64_t kept = ledger.most.load() - std::min(ledger.most.load(), held);
    const std::uint64_t free = std::min(info.total_memory, info.free_memory + kept);
    room = free - std::min(free / 4, std::uint64_t{4} << 30);
  }
  if (const auto allowed = allowed_memory())
    room = std::min(room.value_or(*allowed), *allowed - std::min(*allowed, held));
  return room;
}

}  // namespace

std::uint64_t live_rows(const Corpus& corpus) {
  std::uint64_t count = corpus.rows;
  for (const auto& segment : corpus.segments) count -= format::count_rows(segment.removed);
  return count;
}

bool engine_takes(std::size_t dim) noexcept {
  constexpr std::size_t most_dim = 4096;  // What a multiprocessor has room for, in its smallest tile of queries.
  return dim <= most_dim;
}

void GpuCorpus::reserve(std::uint64_t bytes) {
  // Centroids come anew with every step of k-means: the driver takes longer to say what is free than to copy them.
  constexpr std::uint64_t worth_asking = std::uint64_t{16} << 20;
  if (bytes < worth_asking) return;
  reserved_ = Reservation(device_->runtime(), bytes, fmt::format("{} rows of dimension {}", count_, corpus_.dim));
}

GpuCorpus::GpuCorpus(std::shared_ptr<GpuDevice> device, const Corpus& corpus, const gpu::Part& part)
    : device_(std::move(device)), corpus_(corpus) {
  const std::uint64_t rows = live_rows(corpus);
  count_ = std::min(part.last_row, rows) - std::min(part.first_row, rows);
  corpus_.resident.reset();
  corpus_.hidden.clear();
  if (!has_places_for(count_, corpus_)) return;
  const std::uint64_t bytes = gpu::Engine::bytes_needed(corpus_, part);
  // Centroids, which have no ids, are looked at as a whole.
  const bool divisible = !corpus.segments.empty() && !corpus.segments.front().ids.empty();
  const auto room = divisible ? room_for_rows(*device_->runtime()) : std::nullopt;
  if (room && bytes > *room) {
    reserve(*room);
    device_->run(available_threads(), [&](gpu::Engine& engine) {
      parted_ = std::make_unique<gpu::PartedCorpus>(engine, corpus_, *room, available_threads(), part);
    });
    return;
  }
  reserve(bytes);
  device_->run(available_threads(), [&](gpu::Engine& engine) { rows_ = engine.load(corpus_, default_stream, part); });
}

std::shared_ptr<const Resident> GpuCorpus::portable(Backend& backend) const {
  const std::lock_guard lock(mutex_);
  if (portable_ == nullptr) portable_ = backend.load(corpus_);
  return portable_;
}

}  // namespace ivf::detail::torch_backend

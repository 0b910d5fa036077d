#pragma once
/// \file
/// What the host knows of a corpus in device memory.

#include <cstdint>
#include <memory>
#include <vector>

#include "backends/gpu/memory.h"
#include "backends/gpu/views.h"

namespace ivf::detail::gpu {

struct DeviceCorpus::Impl {
  DeviceMemory memory;
  std::size_t bytes = 0;
  CorpusView lists;  ///< By list.
  CorpusView whole;  ///< All places as one list, empty ones between.
  std::uint64_t rows = 0;
  std::uint32_t places = 0;            ///< Rows with what pads the lists.
  std::vector<std::uint32_t> sizes;    ///< Of the lists.
  std::vector<std::uint64_t> largest;  ///< largest[n]: rows of the n largest lists together.

  /// Rows that `nprobe` lists hold at most.
  std::uint64_t rows_of(std::size_t nprobe) const noexcept {
    return largest[nprobe < largest.size() ? nprobe : largest.size() - 1];
  }
  /// Places up to which `max_codes` rows lie, counted in the order of the lists; 0: all.
  std::uint32_t places_of(std::uint64_t max_codes) const noexcept;
};

/// What Engine::load() does, on the current device.
std::unique_ptr<DeviceCorpus> load_corpus(const Corpus& corpus, Allocator& allocator, StreamHandle stream);

}  // namespace ivf::detail::gpu

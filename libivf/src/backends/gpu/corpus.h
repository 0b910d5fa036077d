#pragma once
/// \file
/// What the host knows of a corpus in device memory.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/gpu/layout.h"
#include "backends/gpu/memory.h"
#include "backends/gpu/staging.h"
#include "backends/gpu/views.h"

namespace ivf::detail::gpu {

struct DeviceCorpus::Impl {
  std::shared_ptr<DeviceMemory> memory;         ///< Of the rows; shared with what hide() makes of them.
  std::shared_ptr<DeviceMemory> filter_memory;  ///< Of what a filter changes.
  std::size_t bytes = 0;                        ///< Of its own.
  CorpusView lists;                             ///< By list.
  CorpusView whole;                             ///< All places as one list, empty ones between.
  const std::uint32_t* origins = nullptr;       ///< Of each place: its row in the sets that filters give.
  std::vector<std::uint64_t> set_begins;        ///< See layout.h.
  std::uint64_t rows = 0;
  std::uint32_t places = 0;            ///< Rows with what pads the lists.
  std::vector<std::uint32_t> sizes;    ///< Of the lists.
  std::vector<std::uint64_t> largest;  ///< largest[n]: rows of the n largest lists together.
  // Of a part of a corpus, on the host and on the device: rows of the lists in the corpus, and before the part.
  std::vector<std::uint32_t> whole_sizes, skipped;
  const std::uint32_t* device_whole_sizes = nullptr;
  const std::uint32_t* device_skipped = nullptr;

  /// Rows that `nprobe` lists hold at most.
  std::uint64_t rows_of(std::size_t nprobe) const noexcept {
    return largest[nprobe < largest.size() ? nprobe : largest.size() - 1];
  }
  /// What is here of the first `max_codes` rows, counted in the order of the lists; 0: of all.
  struct Prefix {
    std::uint32_t places;  ///< From the first on.
    std::uint64_t rows;
  };
  Prefix prefix_of(std::uint64_t max_codes) const noexcept;
};

/// What puts rows on the current device.
struct Loader {
  Staging& staging;
  char* pieces;  ///< loading_bytes() of device memory, in use until the stream has done what bring() puts on it.
  unsigned threads;
  Stream stream;

  /// Puts the copies and kernels that bring rows to `memory` on the stream; the host's memory may change afterwards.
  std::unique_ptr<DeviceCorpus> bring(const KeptRows& kept, const Layout& layout, std::shared_ptr<DeviceMemory> memory,
                                      HiddenRows hidden) const;
};

/// Bytes of the memory for bring(): for a layout with so many places, of which some lists may not be there as a whole.
std::size_t corpus_bytes(const Corpus& corpus, std::uint32_t places, bool partial);
inline std::size_t corpus_bytes(const Corpus& corpus, const Layout& layout) {
  return corpus_bytes(corpus, layout.places, layout.partial);
}
/// And of that for Loader::pieces.
std::size_t loading_bytes(const Corpus& corpus);
/// Throws Error(failed) when the current device has not as many bytes left for `rows` rows.
void require_memory(std::uint64_t bytes, std::uint64_t rows);
/// Throws Error(misuse) when these are not sets of the rows of segments whose sets begin as set_begins() says.
void check_hidden(HiddenRows hidden, const std::vector<std::uint64_t>& begins);
/// What Engine::hide() does, on the current device.
std::unique_ptr<DeviceCorpus> hide_rows(const DeviceCorpus& corpus, HiddenRows hidden, Allocator& allocator,
                                        Staging& staging, Stream stream);

}  // namespace ivf::detail::gpu

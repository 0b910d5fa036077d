#pragma once
/// \file
/// Compressed sections: independent zstd frames of equal raw size, then a table of their stored sizes.

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "ivf/format/scratch.hpp"
#include "layout.h"
#include "raw_bytes.h"

namespace ivf::format {

/// Bytes aligned for any element type and any vector load, followed by kTailPadding zero bytes.
class AlignedBuffer {
 public:
  /// In memory, or in a file without a name in the directory of `beside`. Throws Error(failed) when there is not enough
  /// room; `what` says for what.
  AlignedBuffer(std::uint64_t size, const std::string& what, const std::string& beside = "");
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&&) = delete;
  ~AlignedBuffer();
  std::span<std::byte> bytes() const noexcept {
    return {held_ != nullptr ? held_ : static_cast<std::byte*>(file_.data()), size_};
  }

 private:
  std::byte* held_ = nullptr;
  ScratchBytes file_;
  std::size_t size_;
};

/// Checks what an entry says about its frames, before anything is read or allocated. Throws Error(corrupt).
void check_frame_sizes(const DirectoryEntry& entry, const std::string& path);

/// Decodes a section, into memory or a file (AlignedBuffer). Memory is allocated only after every frame's own header
/// agreed with the directory. Throws Error(corrupt).
AlignedBuffer decode_frames(const DirectoryEntry& entry, std::span<const std::byte> stored, unsigned threads,
                            const std::string& path, const std::string& beside = "");

/// Compresses `raw` on `threads` threads and hands the stored bytes, in order, to `sink`. The result does not depend on
/// the number of threads.
void encode_frames(const RawBytes& raw, int level, unsigned threads,
                   const std::function<void(std::span<const std::byte>)>& sink);

/// Whether compressing is worth it, judged from a few frames spread over the section.
bool worth_compressing(const RawBytes& raw, int level, unsigned threads);

/// Whether a compressed size keeps the format's bounds and saves enough to give up the memory map.
constexpr bool keeps_compressed(std::uint64_t raw_bytes, std::uint64_t stored_bytes) noexcept {
  return stored_bytes <= raw_bytes - raw_bytes / 16 && raw_bytes / kMaxExpansion < stored_bytes;
}

}  // namespace ivf::format

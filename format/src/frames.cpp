#include "frames.h"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "file_state.h"
#include "ivf/error.hpp"
#include "parallel.h"

namespace ivf::format {
namespace {

constexpr std::size_t kTableEntry = sizeof(std::uint64_t);

std::uint64_t frame_count(std::uint64_t raw_bytes, std::uint64_t frame_bytes) noexcept {
  return (raw_bytes + frame_bytes - 1) / frame_bytes;
}

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
};

std::vector<std::byte> compress_frame(std::span<const std::byte> raw, int level) {
  const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  if (!context) throw std::bad_alloc();
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  std::vector<std::byte> frame(ZSTD_compressBound(raw.size()));
  const std::size_t size = ZSTD_compress2(context.get(), frame.data(), frame.size(), raw.data(), raw.size());
  if (ZSTD_isError(size)) {
    throw Error(ErrorKind::failed,
                fmt::format("cannot compress {} bytes: zstd says {}", raw.size(), ZSTD_getErrorName(size)));
  }
  frame.resize(size);
  return frame;
}

std::uint64_t frame_size(const RawBytes& raw, std::size_t index) noexcept {
  return std::min<std::uint64_t>(kFrameBytes, raw.size() - std::uint64_t{index} * kFrameBytes);
}

std::vector<std::byte> compress_frame(const RawBytes& raw, std::size_t index, int level) {
  std::vector<std::byte> room;
  return compress_frame(raw.piece(std::uint64_t{index} * kFrameBytes, frame_size(raw, index), room), level);
}

}  // namespace

AlignedBuffer::AlignedBuffer(std::uint64_t size, const std::string& what, const std::string& beside) : size_(size) {
  const std::uint64_t capacity = align_up(size + kTailPadding);
  if (!beside.empty()) {
    file_ = ScratchBytes(capacity, 0, beside);
    return;
  }
  held_ = static_cast<std::byte*>(std::aligned_alloc(kAlignment, capacity));
  if (held_ == nullptr) {
    throw Error(ErrorKind::failed, fmt::format("not enough memory: {} bytes for {}; an uncompressed index would be "
                                               "memory-mapped instead",
                                               capacity, what));
  }
  std::memset(held_ + size, 0, capacity - size);
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : held_(std::exchange(other.held_, nullptr)), file_(std::move(other.file_)), size_(std::exchange(other.size_, 0)) {}

AlignedBuffer::~AlignedBuffer() { std::free(held_); }

void check_frame_sizes(const DirectoryEntry& entry, const std::string& path) {
  if (!std::has_single_bit(entry.frame_bytes) || entry.frame_bytes < kMinFrameBytes ||
      entry.frame_bytes > kMaxFrameBytes) {
    throw_corrupt(path, describe(entry),
                  fmt::format("frames of a power of two from {} to {} bytes", kMinFrameBytes, kMaxFrameBytes),
                  fmt::format("{}", entry.frame_bytes));
  }
  if (entry.raw_bytes / kMaxExpansion >= entry.stored_bytes) {
    throw_corrupt(path, describe(entry), fmt::format("less than {} raw bytes a stored byte", kMaxExpansion),
                  fmt::format("{} raw and {} stored bytes", entry.raw_bytes, entry.stored_bytes));
  }
  const std::uint64_t frames = frame_count(entry.raw_bytes, entry.frame_bytes);
  if (frames > entry.stored_bytes / (kTableEntry + 1)) {
    throw_corrupt(path, describe(entry), fmt::format("room for {} frames and their table", frames),
                  fmt::format("{} stored bytes", entry.stored_bytes));
  }
}

AlignedBuffer decode_frames(const DirectoryEntry& entry, std::span<const std::byte> stored, unsigned threads,
                            const std::string& path, const std::string& beside) {
  const std::size_t frames = frame_count(entry.raw_bytes, entry.frame_bytes);
  const std::size_t frames_end = stored.size() - frames * kTableEntry;
  const auto raw_size = [&](std::size_t i) -> std::size_t {
    return std::min<std::uint64_t>(entry.frame_bytes, entry.raw_bytes - i * entry.frame_bytes);
  };
  const auto where = [&](std::size_t i) { return fmt::format("frame {} of {}", i, describe(entry)); };

  std::vector<std::size_t> begins(frames + 1);
  for (std::size_t i = 0; i < frames; ++i) {
    std::uint64_t size;
    std::memcpy(&size, stored.data() + frames_end + i * kTableEntry, sizeof size);
    if (size == 0 || size > frames_end - begins[i]) {
      throw_corrupt(path, where(i), fmt::format("1 to {} stored bytes", frames_end - begins[i]),
                    fmt::format("{}", size));
    }
    begins[i + 1] = begins[i] + size;
    const std::byte* frame = stored.data() + begins[i];
    if (ZSTD_findFrameCompressedSize(frame, size) != size) {
      throw_corrupt(path, where(i), fmt::format("one whole zstd frame of {} bytes", size), "something else");
    }
    const unsigned long long content = ZSTD_getFrameContentSize(frame, size);
    if (content != raw_size(i)) {
      throw_corrupt(path, where(i), fmt::format("a zstd frame that declares {} bytes of content", raw_size(i)),
                    content == ZSTD_CONTENTSIZE_ERROR || content == ZSTD_CONTENTSIZE_UNKNOWN
                        ? "none declared"
                        : fmt::format("{}", content));
    }
  }
  if (begins[frames] != frames_end) {
    throw_corrupt(path, describe(entry), fmt::format("frames that end at the table, {} bytes in", frames_end),
                  fmt::format("{}", begins[frames]));
  }

  AlignedBuffer raw(entry.raw_bytes, describe(entry), beside);
  parallel_tasks(threads, frames, [&](std::size_t i) {
    const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
    if (!context) throw std::bad_alloc();
    const std::size_t size = ZSTD_decompressDCtx(context.get(), raw.bytes().data() + i * entry.frame_bytes, raw_size(i),
                                                 stored.data() + begins[i], begins[i + 1] - begins[i]);
    if (size != raw_size(i)) {
      throw_corrupt(
          path, where(i), fmt::format("{} decoded bytes", raw_size(i)),
          ZSTD_isError(size) ? fmt::format("zstd's error '{}'", ZSTD_getErrorName(size)) : fmt::format("{}", size));
    }
  });
  return raw;
}

void encode_frames(const RawBytes& raw, int level, unsigned threads,
                   const std::function<void(std::span<const std::byte>)>& sink) {
  const std::size_t frames = frame_count(raw.size(), kFrameBytes);
  const std::size_t batch = std::size_t{8} * std::max(threads, 1u);  // Bounds the memory to a few frames a thread.
  std::vector<std::uint64_t> table;
  table.reserve(frames);
  for (std::size_t first = 0; first < frames; first += batch) {
    std::vector<std::vector<std::byte>> compressed(std::min(batch, frames - first));
    parallel_tasks(threads, compressed.size(),
                   [&](std::size_t i) { compressed[i] = compress_frame(raw, first + i, level); });
    for (const auto& frame : compressed) {
      table.push_back(frame.size());
      sink(frame);
    }
  }
  sink(std::as_bytes(std::span(table)));
}

bool worth_compressing(const RawBytes& raw, int level, unsigned threads) {
  constexpr std::size_t kSamples = 8;
  const std::size_t frames = frame_count(raw.size(), kFrameBytes);
  if (frames <= kSamples) return true;  // Compressing all of it costs no more than sampling.
  std::array<std::size_t, kSamples> raw_sizes = {};
  std::array<std::size_t, kSamples> stored_sizes = {};
  parallel_tasks(threads, kSamples, [&](std::size_t i) {
    const std::size_t frame = i * (frames - 1) / (kSamples - 1);
    raw_sizes[i] = frame_size(raw, frame);
    stored_sizes[i] = compress_frame(raw, frame, level).size();
  });
  std::uint64_t raw_bytes = 0;
  std::uint64_t stored_bytes = 0;
  for (std::size_t i = 0; i < kSamples; ++i) {
    raw_bytes += raw_sizes[i];
    stored_bytes += stored_sizes[i];
  }
  return keeps_compressed(raw_bytes, stored_bytes);
}

}  // namespace ivf::format

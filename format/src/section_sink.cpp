#include "section_sink.h"

#include <algorithm>
#include <array>
#include <vector>

#include "checksum.h"
#include "frames.h"
#include "parallel.h"

namespace ivf::format {

DirectoryEntry SectionSink::write(SectionKind kind, std::uint64_t segment, std::uint64_t items, const RawBytes& raw) {
  DirectoryEntry entry;
  entry.kind = static_cast<std::uint32_t>(kind);
  entry.segment = segment;
  entry.offset = end_;
  entry.raw_bytes = raw.size();
  entry.items = items;
  const bool bulk = section_traits(entry.kind)->bulk;
  if (options_.compression_level == 0 || !bulk || !write_compressed(entry, raw)) write_plain(entry, raw);
  const std::uint64_t end = entry.offset + entry.stored_bytes;
  static constexpr std::array<std::byte, kTailPadding + kAlignment> kZeros = {};
  end_ = next_section_offset(end);
  pwrite_fully(ops_, fd_, kZeros.data(), end_ - end, end, path_);
  return entry;
}

void SectionSink::write_plain(DirectoryEntry& entry, const RawBytes& raw) {
  std::vector<std::uint64_t> checksums((raw.size() + kChecksumBlock - 1) / kChecksumBlock);
  // One block is hashed while another is being written, and each is written while it is still in the cache.
  parallel_tasks(options_.threads, checksums.size(), [&](std::size_t i) {
    const std::uint64_t begin = i * kChecksumBlock;
    std::vector<std::byte> room;
    const auto block = raw.piece(begin, std::min<std::uint64_t>(kChecksumBlock, raw.size() - begin), room);
    checksums[i] = checksum64(block.data(), block.size());
    pwrite_fully(ops_, fd_, block.data(), block.size(), entry.offset + begin, path_);
  });
  entry.stored_bytes = raw.size();
  entry.checksum = combine_checksums(checksums);
}

/// Returns false, with nothing left behind, when the section is better stored as it is.
bool SectionSink::write_compressed(DirectoryEntry& entry, const RawBytes& raw) {
  if (!worth_compressing(raw, options_.compression_level, options_.threads)) return false;
  SectionHasher hasher;
  std::uint64_t stored = 0;
  encode_frames(raw, options_.compression_level, options_.threads, [&](std::span<const std::byte> piece) {
    hasher.add(piece);
    pwrite_fully(ops_, fd_, piece.data(), piece.size(), entry.offset + stored, path_);
    stored += piece.size();
  });
  if (!keeps_compressed(raw.size(), stored)) {
    ftruncate_or_throw(ops_, fd_, entry.offset, path_);
    return false;
  }
  entry.flags = kSectionCompressed;
  entry.frame_bytes = kFrameBytes;
  entry.stored_bytes = stored;
  entry.checksum = hasher.finish();
  return true;
}

}  // namespace ivf::format

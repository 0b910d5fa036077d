#include "checksum.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <new>

#include "parallel.h"

namespace ivf::format {
namespace {

XXH3_state_t* state_of(void* state) noexcept { return static_cast<XXH3_state_t*>(state); }

}  // namespace

std::uint64_t checksum64(const void* data, std::size_t size) noexcept { return XXH3_64bits(data, size); }

std::uint64_t combine_checksums(std::span<const std::uint64_t> blocks) noexcept {
  return XXH3_64bits(blocks.data(), blocks.size_bytes());
}

std::uint64_t section_checksum(std::span<const std::byte> bytes, unsigned threads) {
  std::vector<std::uint64_t> blocks((bytes.size() + kChecksumBlock - 1) / kChecksumBlock);
  parallel_tasks(threads, blocks.size(), [&](std::size_t i) {
    const auto block = bytes.subspan(i * kChecksumBlock, std::min(kChecksumBlock, bytes.size() - i * kChecksumBlock));
    blocks[i] = checksum64(block.data(), block.size());
  });
  return combine_checksums(blocks);
}

std::string hash128_hex(std::span<const std::byte> first, std::span<const std::byte> second) {
  XXH3_state_t* state = XXH3_createState();
  if (state == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state);
  XXH3_128bits_update(state, first.data(), first.size());
  XXH3_128bits_update(state, second.data(), second.size());
  const XXH128_hash_t hash = XXH3_128bits_digest(state);
  XXH3_freeState(state);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

SectionHasher::SectionHasher() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_64bits_reset(state_of(state_));
}

SectionHasher::~SectionHasher() { XXH3_freeState(state_of(state_)); }

void SectionHasher::add(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kChecksumBlock - in_block_));
    XXH3_64bits_update(state_of(state_), piece.data(), piece.size());
    in_block_ += piece.size();
    if (in_block_ == kChecksumBlock) end_block();
    bytes = bytes.subspan(piece.size());
  }
}

void SectionHasher::end_block() {
  blocks_.push_back(XXH3_64bits_digest(state_of(state_)));
  XXH3_64bits_reset(state_of(state_));
  in_block_ = 0;
}

std::uint64_t SectionHasher::finish() {
  if (in_block_ > 0) end_block();
  return combine_checksums(blocks_);
}

}  // namespace ivf::format

#pragma once
/// \file
/// The checksum of a section (docs/format.md, "Checksums"): XXH3-64 over the XXH3-64 values of its 4 MiB blocks, so
/// that blocks can be hashed in any order and on any thread.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ivf::format {

inline constexpr std::size_t kChecksumBlock = std::size_t{4} << 20;

/// XXH3-64 with seed 0 of some bytes: headers, superblocks, directories and single blocks.
std::uint64_t checksum64(const void* data, std::size_t size) noexcept;
/// The section checksum, given the checksums of its blocks in order.
std::uint64_t combine_checksums(std::span<const std::uint64_t> blocks) noexcept;
/// The section checksum of bytes in memory.
std::uint64_t section_checksum(std::span<const std::byte> bytes, unsigned threads);
/// XXH3-128 of two pieces, one after the other, in hexadecimal.
std::string hash128_hex(std::span<const std::byte> first, std::span<const std::byte> second);

/// The section checksum of bytes that arrive in pieces.
class SectionHasher {
 public:
  SectionHasher();
  ~SectionHasher();
  SectionHasher(const SectionHasher&) = delete;
  SectionHasher& operator=(const SectionHasher&) = delete;
  void add(std::span<const std::byte> bytes);
  std::uint64_t finish();

 private:
  void end_block();

  void* state_;
  std::size_t in_block_ = 0;
  std::vector<std::uint64_t> blocks_;
};

}  // namespace ivf::format

#pragma once
/// \file
/// Philox4x32-10, the counter-based generator behind every random choice of the project.
///
/// J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC'11.
/// A value depends on (seed, stream, counter) alone, so that any thread, process or device can produce any part
/// of a sequence, and all of them agree.

#include <array>
#include <cstdint>

namespace ivf {

/// The four 32-bit outputs of Philox4x32-10 for one counter and key.
inline std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                               std::array<std::uint32_t, 2> key) noexcept {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// Random access to an endless sequence of 32-bit numbers, named by a seed and a stream.
class Philox {
 public:
  Philox(std::uint64_t seed, std::uint64_t stream) noexcept
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}, stream_(stream) {}

  /// Block `index` of the sequence: numbers 4*index .. 4*index+3.
  std::array<std::uint32_t, 4> block(std::uint64_t index) const noexcept {
    return philox4x32({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                       static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)},
                      key_);
  }

  /// 64-bit number `index` of the sequence, made of half a block.
  std::uint64_t u64(std::uint64_t index) const noexcept {
    const auto b = block(index / 2);
    const unsigned half = static_cast<unsigned>(index % 2) * 2;
    return (std::uint64_t{b[half + 1]} << 32) | b[half];
  }

 private:
  std::array<std::uint32_t, 2> key_;
  std::uint64_t stream_;
};

}  // namespace ivf

#include "checksum.h"

#include <algorithm>
#include <random>
#include <vector>

#include "support/catch.hpp"

using namespace ivf::format;

namespace {

std::vector<std::byte> random_bytes(std::size_t size) {
  std::mt19937 random(7);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

}  // namespace

TEST_CASE("the section checksum is the hash of the hashes of its blocks") {
  const auto bytes = random_bytes(2 * kChecksumBlock + 12345);
  const std::uint64_t blocks[] = {checksum64(bytes.data(), kChecksumBlock),
                                  checksum64(bytes.data() + kChecksumBlock, kChecksumBlock),
                                  checksum64(bytes.data() + 2 * kChecksumBlock, 12345)};
  const std::uint64_t expected = checksum64(blocks, sizeof blocks);
  CHECK(section_checksum(bytes, 1) == expected);
  CHECK(section_checksum(bytes, 3) == expected);
  for (const std::size_t piece : {std::size_t{1000}, kChecksumBlock, kChecksumBlock + 1, bytes.size()}) {
    SectionHasher hasher;
    for (std::size_t i = 0; i < bytes.size(); i += piece) {
      hasher.add(std::span(bytes).subspan(i, std::min(piece, bytes.size() - i)));
    }
    CHECK(hasher.finish() == expected);
  }
}

TEST_CASE("checksums are those of XXH3") {
  // From the reference implementation; a change here would be a change of the format.
  CHECK(checksum64("", 0) == 0x2d06800538d394c2u);
  CHECK(hash128_hex({}, {}) == "99aa06d3014798d86001c324468d497f");
}

TEST_CASE("the hash of two pieces is that of their concatenation") {
  const auto bytes = random_bytes(1000);
  const std::span<const std::byte> all(bytes);
  CHECK(hash128_hex(all.first(100), all.subspan(100)) == hash128_hex(all, {}));
  CHECK(hash128_hex(all.first(100), {}) != hash128_hex(all, {}));
}

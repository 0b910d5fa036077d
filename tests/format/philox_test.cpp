#include "ivf/philox.hpp"

#include "support/catch.hpp"

using ivf::Philox;
using ivf::philox4x32;

TEST_CASE("philox gives the published values") {
  // Known answers of Random123 1.14 for philox4x32 with 10 rounds.
  using Block = std::array<std::uint32_t, 4>;
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a philox sequence is addressed by seed stream and index") {
  const Philox random(5, 7);
  const auto block = random.block(3);
  CHECK(random.u64(6) == ((std::uint64_t{block[1]} << 32) | block[0]));
  CHECK(random.u64(7) == ((std::uint64_t{block[3]} << 32) | block[2]));
  CHECK(random.u64(6) != Philox(5, 8).u64(6));
  CHECK(random.u64(6) != Philox(6, 7).u64(6));
}

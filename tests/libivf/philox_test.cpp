#include "ivf/philox.hpp"

#include "support/catch.hpp"

namespace {

using Block = std::array<std::uint32_t, 4>;

}  // namespace

TEST_CASE("Philox4x32-10 gives the known answers of Random123") {
  CHECK(ivf::philox4x32({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(ivf::philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(ivf::philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("Philox names a number by seed, stream and index") {
  const ivf::Philox philox(0x299f31d0a4093822, 0x0370734413198a2e);
  const Block block = philox.block(0x85a308d3243f6a88);
  CHECK(block == Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  const ivf::Philox zero(0, 0);
  CHECK(zero.u64(0) == 0xe169c58d6627e8d5);
  CHECK(zero.u64(1) == 0x9b00dbd8bc57ac4c);
  CHECK(zero.u64(2) == ((std::uint64_t{zero.block(1)[1]} << 32) | zero.block(1)[0]));
}

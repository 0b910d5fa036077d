// .npy.

#include "fuzz.h"
#include "rows.h"

extern "C" int fuzz_one(const std::uint8_t* data, std::size_t size) {
  ivf::fuzz::Choices input(data, size);
  ivf::fuzz::check_reader("npy", "", input);
  return 0;
}

// .fvecs, .bvecs and .ivecs.

#include "fuzz.h"
#include "rows.h"

extern "C" int fuzz_one(const std::uint8_t* data, std::size_t size) {
  static constexpr const char* kFormats[] = {"fvecs", "bvecs", "ivecs"};
  ivf::fuzz::Choices input(data, size);
  const char* format = kFormats[input.below(3)];
  ivf::fuzz::check_reader(format, "", input);
  return 0;
}

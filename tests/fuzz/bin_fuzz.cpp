// .fbin, .u8bin, .i8bin, .ibin and both halves of big-ann ground truth.

#include "fuzz.h"
#include "rows.h"

extern "C" int fuzz_one(const std::uint8_t* data, std::size_t size) {
  struct Form {
    const char* format;
    const char* suffix;
  };
  static constexpr Form kForms[] = {{"fbin", ""}, {"u8bin", ""},  {"i8bin", ""},       {"ibin", ""},
                                    {"gt", ""},   {"gt", ":ids"}, {"gt", ":distances"}};
  ivf::fuzz::Choices input(data, size);
  const Form& form = kForms[input.below(7)];
  ivf::fuzz::check_reader(form.format, form.suffix, input);
  return 0;
}

// How data and the values of options are named on the command line.

#include <algorithm>
#include <cmath>
#include <vector>

#include "destination.h"
#include "fuzz.h"
#include "ivf/datasets/datasets.hpp"
#include "spec.h"
#include "values.h"

using namespace ivf;
using namespace ivf::fuzz;

namespace {

/// What a name says as a source and as a destination must be the same.
void check_name(const std::string& text) {
  datasets::Spec spec;
  if (!accepted([&] { spec = datasets::parse_spec(text); })) return;
  require(spec.text == text, "a name is kept as it was written");
  require(spec.is_generated() || !spec.path.empty(), "a source has a path");
  require(text.find(spec.path) != std::string::npos && text.find(spec.dataset) != std::string::npos,
          "a path is a part of the name");
  require(datasets::is_hdf5(text) == (spec.format == datasets::Format::hdf5), "one grammar");
  const cli::Destination destination = cli::parse_destination(text);
  if (destination.text == cli::TextFormat::none && !spec.is_generated()) {
    require(destination.path == spec.path, "what is checked before it is written is what is written");
  }
}

/// Generated data: any options give an error or rows, and the rows do not depend on how they are read.
void check_generated(const std::string& text) {
  datasets::Spec spec;
  if (!accepted([&] { spec = datasets::parse_spec(text); }) || !spec.is_generated()) return;
  accepted([&] {
    const auto reader = datasets::open_reader(text);
    const std::size_t dim = reader->dim();
    if (dim > 4096) return;
    std::vector<float> rows(3 * dim), row(dim);
    const std::size_t got = reader->read(rows.data(), 3);
    require(reader->rows().has_value() && got == std::min<std::uint64_t>(3, *reader->rows()), "all rows come");
    if (got < 3) return;
    datasets::ReadOptions options;
    options.start = 2;
    options.count = 1;
    require(datasets::open_reader(text, options)->read(row.data(), 1) == 1, "a part can be read");
    require(std::equal(row.begin(), row.end(), rows.begin() + static_cast<std::ptrdiff_t>(2 * dim),
                       [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }),
            "a row is the same from everywhere");
  });
}

void check_values(const std::string& text) {
  accepted([&] {
    const std::uint64_t count = cli::parse_count("--count", text, 3, 1000000);
    require(count >= 3 && count <= 1000000, "a count is within its bounds");
  });
  accepted([&] { cli::parse_count("--count", text); });
  accepted([&] { cli::parse_bytes("--max-memory", text); });
  accepted([&] {
    const double number = cli::parse_number("--min-recall", text, 0, 1);
    require(number >= 0 && number <= 1, "a number is within its bounds");
  });
}

}  // namespace

extern "C" int fuzz_one(const std::uint8_t* data, std::size_t size) {
  Choices input(data, size);
  const std::string text(input.rest());
  // No command line can hold a zero byte; a line break would be quoted where the program prints the message.
  if (text.find_first_of(std::string_view("\0\n", 2)) != std::string::npos) return 0;
  check_name(text);
  check_generated(text);
  check_values(text);
  return 0;
}

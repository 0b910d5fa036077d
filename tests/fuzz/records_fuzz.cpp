// Benchmark records as JSON lines, and the comparison of two files of them.

#include "bench/comparison.h"
#include "bench/record_file.h"
#include "fuzz.h"

using namespace ivf;
using namespace ivf::fuzz;

extern "C" int fuzz_one(const std::uint8_t* data, std::size_t size) {
  Choices input(data, size);
  bench::ComparisonLimits limits;
  limits.identical_results = input.flip();
  const std::string_view text = input.rest();
  // A byte that is in no record divides the two files.
  const std::size_t middle = text.find('\x1e');
  const MemoryFile base(text.substr(0, middle));
  const MemoryFile fresh(middle == std::string_view::npos ? text : text.substr(middle + 1));
  accepted([&] {
    const auto before = bench::read_records(base.path());
    const auto after = bench::read_records(fresh.path());
    require(!before.empty() && !after.empty(), "a file without records is refused");
    const bench::Comparison comparison = bench::compare_records(before, after, limits);
    require(!comparison.pairs.empty(), "records without partners are refused");
    for (const bench::RecordPair& pair : comparison.pairs) pair.regression(limits);
  });
  return 0;
}

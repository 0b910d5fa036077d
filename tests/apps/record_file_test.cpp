#include "bench/record_file.h"

#include <fstream>
#include <string>

#include "ivf/error.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;

TEST_CASE("a record that is nested without end is refused, not followed") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("deep.jsonl");
  constexpr std::size_t kLevels = 1000000;
  const std::string deep = std::string(kLevels, '[') + std::string(kLevels, ']');
  std::ofstream(path) << R"({"library":"ivf","metric":"l2","dim":1,"nb":1,"nq":1,"nlist":1,"nprobe":1,"topk":1,)"
                      << R"("search_ms":1,"search_ms_runs":[)" << deep << "]}\n";
  try {
    bench::read_records(path);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::misuse);
    CHECK(std::string(error.what()) == path + ":1: is nested more than 32 levels deep");
  }
}

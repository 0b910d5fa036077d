#include "bench/record_file.h"

#include <fstream>
#include <string>

#include "ivf/error.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;

namespace {

/// The message of a refused record that has this for the list of its runs.
std::string refusal_of(const std::string& runs) {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.jsonl");
  std::ofstream(path) << R"({"library":"ivf","metric":"l2","dim":1,"nb":1,"nq":1,"nlist":1,"nprobe":1,"topk":1,)"
                      << R"("search_ms":1,"search_ms_runs":[)" << runs << "]}\n";
  try {
    bench::read_records(path);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::misuse);
    const std::string message = error.what();
    REQUIRE(message.substr(0, path.size() + 4) == path + ":1: ");
    return message.substr(path.size() + 4);
  }
  return "accepted";
}

}  // namespace

TEST_CASE("a record that is nested without end is refused, not followed") {
  constexpr std::size_t kLevels = 1000000;
  CHECK(refusal_of(std::string(kLevels, '[') + std::string(kLevels, ']')) ==
        "expected a record, found arrays or objects nested more than 32 levels deep");
}

TEST_CASE("a record with a number that no float64 holds is refused") {
  CHECK(refusal_of("1e308") == "accepted");
  CHECK(refusal_of("1,0.057e3567") == "expected a record, found a number beyond 1.8e308");
}

TEST_CASE("a record is no longer than any that was measured, and is quoted in a few words") {
  CHECK(refusal_of(std::string(std::size_t{4} << 20, ' ')) ==
        "expected a record of at most 4 MiB, found a longer line");
  CHECK(refusal_of('"' + std::string(100000, 'a') + '"') ==
        "'search_ms_runs' holds \"" + std::string(60, 'a') + "\"..., expected numbers above 0");
  CHECK(refusal_of("[[1]]") == "'search_ms_runs' holds an array, expected numbers above 0");
}

// Filters and results as lines of JSON that somebody else wrote: how much memory they may take, and what is refused.

#include <fstream>
#include <string>
#include <vector>

#include "filters.h"
#include "hit_files.h"
#include "ivf/error.hpp"
#include "result_files.h"
#include "support/address_space_limit.h"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;

namespace {

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20;

std::string repeated(const char* text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

/// A file of one line, gone with this.
class LineFile {
 public:
  explicit LineFile(const std::string& text) : path_(directory_.file("x.jsonl")) {
    std::ofstream(path_) << text << "\n";
  }
  const std::string& path() const { return path_; }

 private:
  support::TemporaryDirectory directory_;
  std::string path_;
};

/// The message after the name of the file, and the kind before it; "accepted".
template <class Read>
std::string line_refusal(const LineFile& file, const Read& read) {
  try {
    const support::AddressSpaceLimit limit(32 * mebibyte);
    read();
  } catch (const Error& error) {
    std::string message = error.what();
    const auto at = message.find(file.path());
    REQUIRE(at != std::string::npos);
    CHECK(message.size() < file.path().size() + 300);
    return std::to_string(static_cast<int>(error.kind())) + message.substr(at + file.path().size());
  }
  return "accepted";
}

std::string filter_refusal(const std::string& text, std::uint64_t memory = mebibyte) {
  const LineFile file(text);
  return line_refusal(file, [&] {
    cli::FilterOptions options;
    options.allowed = file.path();
    std::size_t taken = 0;
    cli::open_filters(options, 0, memory)->next(1, taken);
  });
}

std::string hits_refusal(const std::string& text) {
  const LineFile file(text);
  return line_refusal(file, [&] { cli::HitFile(file.path(), mebibyte); });
}

std::string results_refusal(const std::string& text, std::uint64_t memory = 8 * mebibyte) {
  const LineFile file(text);
  return line_refusal(file, [&] { cli::ResultFile::open(file.path(), memory); });
}

bool ends_with_found(const std::string& message, const std::string& found) {
  const std::string end = "; found " + found;
  return message.size() > end.size() && message.compare(message.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

TEST_CASE("a line that is nested without end is refused by whoever reads it") {
  const std::string nested = repeated("[", 200000) + repeated("]", 200000);
  CHECK(ends_with_found(filter_refusal(nested), "an array"));
  CHECK(ends_with_found(filter_refusal("{\"a\":" + nested + "}"), "arrays or objects nested more than 32 levels deep"));
  CHECK(ends_with_found(hits_refusal(nested), "an array"));
  CHECK(ends_with_found(hits_refusal("{\"a\":" + nested + "}"), "arrays or objects nested more than 32 levels deep"));
  CHECK(ends_with_found(results_refusal("{\"ids\":[" + nested + "]}"), "an array in \"ids\""));
}

TEST_CASE("a line takes no more than a share of the memory") {
  const std::string long_list = "[" + repeated("1,3,", 2 * mebibyte) + "1]";
  CHECK(filter_refusal(long_list) == "2: line 1: takes more than 512.0 KiB; raise --max-memory");
  CHECK(hits_refusal(long_list) == "2: line 1: takes more than 512.0 KiB; raise --max-memory");
  CHECK(results_refusal(long_list) == "2: line 1: takes more than 512.0 KiB; raise --max-memory");
  const std::string ids = repeated("1,3,", 50000) + "1";
  CHECK(filter_refusal("[" + ids + "]") ==
        "2: line 1: names more than 32768 ids and ranges apart from each other; raise --max-memory");
  CHECK(hits_refusal("{\"ids\":[" + ids + "]}") == "2: a query has more than 18,724 results; raise --max-memory");
  CHECK(results_refusal("{\"query\":0,\"ids\":[" + repeated("1,", 10000) + "1]}") == "accepted");
  CHECK(results_refusal("{\"query\":0,\"ids\":[" + repeated("1,", 10000) + "1]}", mebibyte / 4) ==
        "2: line 1: takes more than 16.0 KiB; raise --max-memory");
  // What follows another id takes no room.
  std::string consecutive = "[0";
  for (int i = 1; i < 50000; ++i) consecutive += "," + std::to_string(i);
  CHECK(filter_refusal(consecutive + "]") == "accepted");
}

TEST_CASE("fields come in any order, once, and others are passed over") {
  CHECK(filter_refusal(R"({"a":{"ids":[null]},"ids":[1,"3-5"],"b":[[7]]})") == "accepted");
  CHECK(filter_refusal(R"({"":[1]})").find("found an object without ids") != std::string::npos);
  CHECK(ends_with_found(filter_refusal(R"({"ids":[1],"ids":[2]})"), "\"ids\" twice"));
  CHECK(ends_with_found(filter_refusal("[9223372036854775808]"), "9.223372036854776e+18"));
  CHECK(ends_with_found(filter_refusal("7"), "7"));
  CHECK(ends_with_found(filter_refusal("["), "no JSON (at byte 2 of the line)"));
  CHECK(hits_refusal(R"({"distances":[1e300,null],"x":[{}],"ids":[5,6],"query":0})") == "accepted");
  CHECK(ends_with_found(hits_refusal(R"({"query":0,"ids":[5],"distances":[]})"), "1 id and 0 distances"));
  CHECK(ends_with_found(hits_refusal(R"({"query":-1,"ids":[],"distances":[]})"), "-1 in \"query\""));
  CHECK(ends_with_found(results_refusal(R"({"query":0,"ids":["5"]})"), "\"5\" in \"ids\""));
  CHECK(ends_with_found(results_refusal(R"({"ids":[]})"), "an object without \"query\""));
}

TEST_CASE("queries far apart, and one that has many results, take no memory for the others") {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += std::to_string(i * 1000000 + 5) + "\t1\t7\t0.5\n";
  for (int i = 2; i <= 20000; ++i) text += "999000005\t" + std::to_string(i) + "\t9\t1\n";
  const LineFile file(text);
  const support::AddressSpaceLimit limit(64 * mebibyte);
  const auto results = cli::ResultFile::open("tsv:" + file.path(), 8 * mebibyte);
  CHECK(results->rows() == 999000006);
  CHECK(results->width() == 20000);
  std::vector<idx_t> ids;
  REQUIRE(results->next(ids, 4096) > 5);
  CHECK(ids[5 * 20000] == 7);
  CHECK(ids[5 * 20000 + 1] == -1);
}

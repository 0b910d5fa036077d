// Lines of JSON: how long and deep they may be, what is visited of them, and how they are quoted.

#include "bench/json_lines.h"

#include <sstream>
#include <string>

#include "support/catch.hpp"

using namespace ivf::bench;

namespace {

std::string nested(int levels) {
  return std::string(static_cast<std::size_t>(levels), '[') + std::string(static_cast<std::size_t>(levels), ']');
}

/// Writes down what is visited.
class Notes final : public JsonFields {
 public:
  void line(const JsonItem& value) override { text += "line " + json_excerpt(value) + "; "; }
  void field(const std::string& key, const JsonItem& value) override { text += key + " " + json_excerpt(value) + "; "; }
  void element(const JsonItem& value) override { text += "- " + json_excerpt(value) + "; "; }
  std::string text;
};

/// What a visitor sees, or what is wrong with the line.
std::string visited(const std::string& line) {
  Notes notes;
  if (const auto found = visit_json(line, notes)) return *found;
  return notes.text;
}

}  // namespace

TEST_CASE("lines are read up to their bound, which includes no end of the line") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4094}, std::size_t{4095},
                                 std::size_t{4096}, std::size_t{8190}, std::size_t{8191}, std::size_t{100000}}) {
    const std::string text(size, 'x');
    std::string line;
    std::istringstream in(text + "\n\nlast");
    REQUIRE(read_line(in, line, size) == LineRead::line);
    CHECK(line == text);
    REQUIRE(read_line(in, line, size) == LineRead::line);
    CHECK(line.empty());
    REQUIRE(read_line(in, line, 4) == LineRead::line);
    CHECK(line == "last");
    CHECK(read_line(in, line, 4) == LineRead::end);
    std::istringstream again(text + "x");
    CHECK(read_line(again, line, size) == LineRead::too_long);
  }
  std::string line;
  std::istringstream zero(std::string("a\0b\n", 4));
  REQUIRE(read_line(zero, line, 3) == LineRead::line);
  CHECK(line == std::string("a\0b", 3));
}

TEST_CASE("a line that does not end is left after its bound") {
  std::istringstream endless(std::string(std::size_t{1} << 20, '['));
  std::string line;
  CHECK(read_line(endless, line, 1000) == LineRead::too_long);
  CHECK(line.capacity() < 16384);
}

TEST_CASE("of a line the fields and elements are visited, and what lies deeper is passed over") {
  CHECK(visited("[1, \"a\", [2], {\"b\":3}]") == "line an array; - 1; - \"a\"; - an array; - an object; ");
  CHECK(visited(R"({"a":[1.5,[2,[3]],{"x":[4]}],"b":{"c":[5],"d":6},"e":null})") ==
        "line an object; a an array; - 1.5; - an array; - an object; b an object; e null; ");
  CHECK(visited("18446744073709551615") == "line 1.8446744073709552e+19; ");
  CHECK(visited("-9223372036854775808") == "line -9223372036854775808; ");
  CHECK(visited("[1,]") == "no JSON (at byte 4 of the line)");
  CHECK(visited("") == "no JSON (at byte 1 of the line)");
  CHECK(visited("[1e999]") == "a number beyond 1.8e308");
}

TEST_CASE("both ways of reading JSON stop at the same depth, however deep it goes on") {
  const std::string problem = "arrays or objects nested more than 32 levels deep";
  nlohmann::json value;
  CHECK(visited(nested(deepest_json)) == "line an array; - an array; ");
  CHECK_FALSE(parse_json(nested(deepest_json), value).has_value());
  for (const int levels : {deepest_json + 1, 1000000}) {
    CHECK(visited(nested(levels)) == problem);
    CHECK(parse_json(nested(levels), value) == problem);
  }
}

TEST_CASE("quotes are short, of whole characters and without control characters") {
  CHECK(text_excerpt("a\tb\"\n") == R"("a\tb\"\n")");
  CHECK(text_excerpt(std::string(60, 'a')) == '"' + std::string(60, 'a') + '"');
  CHECK(text_excerpt(std::string(61, 'a')) == '"' + std::string(60, 'a') + "\"...");
  CHECK(text_excerpt(std::string(59, 'a') + "\xc3\xa4") == '"' + std::string(59, 'a') + "\"...");
  CHECK(text_excerpt(std::string(1000, '\1')).size() < 80);
  CHECK(text_excerpt("\xff") == "\"\xef\xbf\xbd\"");
  CHECK(json_excerpt(nlohmann::json::parse(nested(30))) == "an array");
}

#pragma once
/// \file
/// Lines of JSON that somebody else wrote: bounded in length and depth, and quoted in a few words.

#include <cstddef>
#include <cstdint>
#include <istream>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace ivf::bench {

/// Arrays and objects within each other that are read. All that the program reads is nearly flat; what is nested
/// without end would overflow the stack where it is compared, copied or printed.
constexpr int deepest_json = 32;

enum class LineRead { line, end, too_long };
/// Reads the next line, without its end, and never holds more than `longest` bytes of it and a small constant. `end` is
/// also where the stream is bad.
LineRead read_line(std::istream& in, std::string& line, std::size_t longest);

/// A value of a line. Of an array or object only that it is one: what it holds is visited by itself, or not at all.
struct JsonItem {
  enum class Kind { null, boolean, integer, number, text, array, object };
  Kind kind = Kind::null;
  std::int64_t integer = 0;  ///< Integers that no int64 holds are numbers of another kind.
  double number = 0;         ///< Also that of an integer.
  std::string_view text;     ///< Valid while it is visited.
};

/// What a line of JSON holds, in the order in which it stands there, without a tree of it in memory: the line itself,
/// the fields of an object, and the elements of an array that is the line or a field. What lies deeper is checked to be
/// JSON and passed over. Functions may throw.
class JsonFields {
 public:
  virtual ~JsonFields() = default;
  virtual void line(const JsonItem& value) = 0;
  virtual void field(const std::string& key, const JsonItem& value) = 0;
  /// Of the array that was visited last.
  virtual void element(const JsonItem& value) = 0;
};

/// Visits a line. Returns what was found where there should be JSON within bounds: "no JSON (at byte 3 of the line)".
std::optional<std::string> visit_json(const std::string& line, JsonFields& fields);

/// The same line as a tree, which takes up to thirty times the line.
std::optional<std::string> parse_json(const std::string& line, nlohmann::json& value);

/// A value as messages show it: 60 characters at most, and arrays and objects by name.
std::string json_excerpt(const JsonItem& item);
std::string json_excerpt(const nlohmann::json& value);
/// Text in quotes, without control characters.
std::string text_excerpt(std::string_view text);

}  // namespace ivf::bench

#include "bench/json_lines.h"

#include <array>

#include <fmt/format.h>

namespace ivf::bench {
namespace {

using JsonTree = nlohmann::json;

constexpr std::size_t longest_excerpt = 60;
// The id of nlohmann's error for a number that no float64 holds.
constexpr int number_out_of_range = 406;

std::string no_json(std::size_t byte) { return fmt::format("no JSON (at byte {} of the line)", byte); }
std::string too_deep() { return fmt::format("arrays or objects nested more than {} levels deep", deepest_json); }
std::string too_large() { return "a number beyond 1.8e308"; }

/// The beginning of a text, not ending within a character of UTF-8.
std::string_view beginning(std::string_view text, std::size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  return text.substr(0, most);
}

/// Passes on what JsonFields is about, and stops at what is nested too deep.
class FieldVisitor final : public nlohmann::json_sax<JsonTree> {
 public:
  explicit FieldVisitor(JsonFields& fields) : fields_(fields) {}

  const std::string& problem() const noexcept { return problem_; }

  bool null() override { return visit({}); }
  bool boolean(bool) override { return visit({JsonItem::Kind::boolean, 0, 0, {}}); }
  bool number_integer(number_integer_t value) override {
    return visit({JsonItem::Kind::integer, value, static_cast<double>(value), {}});
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (value <= INT64_MAX) return number_integer(static_cast<number_integer_t>(value));
    return visit({JsonItem::Kind::number, 0, static_cast<double>(value), {}});
  }
  bool number_float(number_float_t value, const string_t&) override {
    return visit({JsonItem::Kind::number, 0, value, {}});
  }
  bool string(string_t& value) override { return visit({JsonItem::Kind::text, 0, 0, value}); }
  bool binary(binary_t&) override { return true; }  // Text has none.

  bool start_object(std::size_t) override { return open({JsonItem::Kind::object, 0, 0, {}}); }
  bool start_array(std::size_t) override { return open({JsonItem::Kind::array, 0, 0, {}}); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    if (depth_ == 1) key_.swap(value);
    return true;
  }

  bool parse_error(std::size_t byte, const std::string&, const JsonTree::exception& error) override {
    problem_ = error.id == number_out_of_range ? too_large() : no_json(byte);
    return false;
  }

 private:
  bool visit(const JsonItem& item) {
    if (depth_ == 0) {
      fields_.line(item);
    } else if (depth_ == 1 && outer_ == JsonItem::Kind::object) {
      fields_.field(key_, item);
    } else if (depth_ == 1 || (depth_ == 2 && outer_ == JsonItem::Kind::object && inner_ == JsonItem::Kind::array)) {
      fields_.element(item);
    }
    return true;
  }
  bool open(const JsonItem& item) {
    if (depth_ == deepest_json) {
      problem_ = too_deep();
      return false;
    }
    visit(item);
    if (depth_ == 0) outer_ = item.kind;
    if (depth_ == 1) inner_ = item.kind;
    ++depth_;
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }

  JsonFields& fields_;
  std::string problem_, key_;
  int depth_ = 0;
  JsonItem::Kind outer_ = JsonItem::Kind::null, inner_ = JsonItem::Kind::null;
};

}  // namespace

LineRead read_line(std::istream& in, std::string& line, std::size_t longest) {
  std::array<char, 4096> piece;
  line.clear();
  for (;;) {
    in.getline(piece.data(), piece.size());
    const auto got = static_cast<std::size_t>(in.gcount());
    // A piece that is full without an end of the line counts as a failure, as does nothing at the end of the file.
    const bool full = in.fail() && !in.eof() && !in.bad() && got == piece.size() - 1;
    if (in.bad() || (in.fail() && !full)) return LineRead::end;
    const bool ended = !full && !in.eof();
    line.append(piece.data(), got - (ended ? 1 : 0));
    if (line.size() > longest) return LineRead::too_long;
    if (!full) return LineRead::line;
    in.clear(in.rdstate() & ~std::ios::failbit);
  }
}

std::optional<std::string> visit_json(const std::string& line, JsonFields& fields) {
  FieldVisitor visitor(fields);
  if (JsonTree::sax_parse(line, &visitor)) return std::nullopt;
  return visitor.problem();
}

std::optional<std::string> parse_json(const std::string& line, JsonTree& value) {
  struct TooDeep {};
  const auto bounded = [](int depth, JsonTree::parse_event_t event, JsonTree&) {
    const bool opens = event == JsonTree::parse_event_t::array_start || event == JsonTree::parse_event_t::object_start;
    if (opens && depth >= deepest_json) throw TooDeep();
    return true;
  };
  try {
    value = JsonTree::parse(line, bounded);
  } catch (const TooDeep&) {
    return too_deep();
  } catch (const JsonTree::parse_error& error) {
    return no_json(error.byte);
  } catch (const JsonTree::out_of_range&) {
    return too_large();
  }
  return std::nullopt;
}

std::string json_excerpt(const JsonItem& item) {
  switch (item.kind) {
    case JsonItem::Kind::null:
      return "null";
    case JsonItem::Kind::boolean:
      return "a truth value";
    case JsonItem::Kind::integer:
      return std::to_string(item.integer);
    case JsonItem::Kind::number:
      return JsonTree(item.number).dump();
    case JsonItem::Kind::text:
      return text_excerpt(item.text);
    case JsonItem::Kind::array:
      return "an array";
    case JsonItem::Kind::object:
      break;
  }
  return "an object";
}

std::string json_excerpt(const JsonTree& value) {
  if (value.is_array()) return "an array";
  if (value.is_object()) return "an object";
  if (value.is_string()) return text_excerpt(value.get_ref<const std::string&>());
  return value.dump();
}

std::string text_excerpt(std::string_view text) {
  const std::string_view start = beginning(text, longest_excerpt);
  const std::string quoted = JsonTree(start).dump(-1, ' ', false, JsonTree::error_handler_t::replace);
  // Escapes of control characters are longer than these.
  const std::string_view shown = beginning(quoted, longest_excerpt + 2);
  const bool whole = start.size() == text.size() && shown.size() == quoted.size();
  return std::string(shown) + (whole ? "" : "...");
}

}  // namespace ivf::bench

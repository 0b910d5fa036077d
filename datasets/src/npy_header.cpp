#include "npy_header.h"

#include <array>
#include <limits>

#include "errors.h"

namespace ivf::datasets {

namespace {

struct TypeEntry {
  std::string_view code;
  Element element;
};

constexpr std::array<TypeEntry, 7> kTypes{{{"f4", Element::f32},
                                           {"f8", Element::f64},
                                           {"f2", Element::f16},
                                           {"u1", Element::u8},
                                           {"i1", Element::i8},
                                           {"i4", Element::i32},
                                           {"i8", Element::i64}}};

/// A cursor over the literal.
class Parser {
 public:
  Parser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  [[noreturn]] void fail(std::string_view expected) const {
    const std::string found = at_ < text_.size() ? fmt::format("'{}'", printable(text_[at_])) : "its end";
    throw corrupt("{}: npy header, character {}: expected {}, found {}", name_, at_, expected, found);
  }

  void skip_spaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }

  bool accept(char c) {
    skip_spaces();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) fail(fmt::format("'{}'", c));
  }

  bool accept_word(std::string_view word) {
    skip_spaces();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  std::string_view quoted() {
    skip_spaces();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') fail("a quoted string");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) fail("a string that is closed");
    const std::string_view value = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return value;
  }

  std::uint64_t integer() {
    skip_spaces();
    if (at_ >= text_.size() || !is_digit(text_[at_])) fail("a whole number");
    std::uint64_t value = 0;
    while (at_ < text_.size() && is_digit(text_[at_])) {
      const auto digit = static_cast<std::uint64_t>(text_[at_] - '0');
      if (value > (std::numeric_limits<std::uint64_t>::max() - digit) / 10) fail("a number below 2^64");
      value = value * 10 + digit;
      ++at_;
    }
    accept('L');  // written by Python 2
    return value;
  }

  bool at_end() {
    skip_spaces();
    return at_ == text_.size();
  }

 private:
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  static char printable(char c) { return c >= ' ' && c <= '~' ? c : '?'; }

  std::string_view text_;
  const std::string& name_;
  std::size_t at_ = 0;
};

void parse_type(Parser& parser, const std::string& name, NpyHeader& header) {
  parser.skip_spaces();
  if (parser.accept('[')) {
    throw misuse("{}: holds records with named fields; save one field as a plain two-dimensional array", name);
  }
  const std::string_view descr = parser.quoted();
  const char order = descr.empty() ? '\0' : descr.front();
  for (const TypeEntry& entry : kTypes) {
    if (descr.substr(descr.empty() ? 0 : 1) != entry.code) continue;
    const bool one_byte = entry.code.back() == '1';
    if (order != '<' && order != '>' && !(one_byte && order == '|')) break;
    header.element = entry.element;
    header.swapped = order == '>' && !one_byte;
    return;
  }
  std::string shown;
  for (const char c : descr.substr(0, 16)) shown += c >= ' ' && c <= '~' ? c : '?';
  throw misuse(
      "{}: element type '{}' is not supported (known: f4 f8 f2 u1 i1 i4 i8); convert with array.astype('float32')",
      name, shown);
}

}  // namespace

NpyHeader parse_npy_header(std::string_view text, const std::string& name) {
  constexpr std::size_t kMaxAxes = 64;
  Parser parser(text, name);
  NpyHeader header;
  bool has_descr = false;
  bool has_order = false;
  bool has_shape = false;
  parser.expect('{');
  while (!parser.accept('}')) {
    const std::string_view key = parser.quoted();
    parser.expect(':');
    if (key == "descr") {
      parse_type(parser, name, header);
      has_descr = true;
    } else if (key == "fortran_order") {
      header.fortran_order = parser.accept_word("True");
      if (!header.fortran_order && !parser.accept_word("False")) parser.fail("True or False");
      has_order = true;
    } else if (key == "shape") {
      parser.expect('(');
      header.shape.clear();
      while (!parser.accept(')')) {
        if (header.shape.size() == kMaxAxes) parser.fail("at most 64 axes");
        header.shape.push_back(parser.integer());
        if (parser.accept(',')) continue;
        parser.expect(')');
        break;
      }
      has_shape = true;
    } else {
      parser.fail("one of the keys descr, fortran_order, shape before this");
    }
    if (parser.accept(',')) continue;
    parser.expect('}');
    break;
  }
  if (!parser.at_end()) parser.fail("nothing after the dictionary");
  if (!has_descr || !has_order || !has_shape) {
    throw corrupt("{}: npy header: expected the keys descr, fortran_order and shape; {} is missing", name,
                  !has_descr ? "descr" : (!has_order ? "fortran_order" : "shape"));
  }
  return header;
}

std::string npy_preamble(Element element, std::uint64_t rows, std::size_t dim) {
  constexpr std::size_t kPreamble = 128;
  constexpr std::size_t kBeforeText = 10;  // magic, version, length of the text
  std::string_view code;
  for (const TypeEntry& entry : kTypes) {
    if (entry.element == element) code = entry.code;
  }
  std::string preamble("\x93NUMPY\x01\x00", 8);
  constexpr std::size_t kText = kPreamble - kBeforeText;
  preamble += static_cast<char>(kText & 0xff);
  preamble += static_cast<char>(kText >> 8);
  preamble += fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}, {}), }}",
                          code.back() == '1' ? '|' : '<', code, rows, dim);
  preamble.resize(kPreamble - 1, ' ');
  preamble += '\n';
  return preamble;
}

}  // namespace ivf::datasets

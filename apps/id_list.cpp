#include "id_list.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "ivf/datasets/datasets.hpp"
#include "message.h"
#include "signals.h"

namespace ivf::cli {
namespace {

using Visitor = std::function<void(idx_t, idx_t)>;

// Two ids of 20 characters and a hyphen, with some blanks around: what is longer is no id.
constexpr std::size_t longest_item = 64;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t\r";
  const auto begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

/// Takes a number off the front of `text`.
std::optional<idx_t> take_number(std::string_view& text) {
  idx_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return {};
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

std::optional<IdRange> parse_item(std::string_view text) {
  const auto first = take_number(text);
  if (!first) return {};
  if (text.empty()) return IdRange{*first, *first};
  if (text.front() != '-') return {};
  text.remove_prefix(1);
  const auto last = take_number(text);
  if (!last || !text.empty()) return {};
  return IdRange{*first, *last};
}

/// Reads one item; `where()` says its place. Blank ones are nothing.
template <class Where>
void visit_item(std::string_view item, ErrorKind kind, const Where& where, const Visitor& visit) {
  item = trimmed(item);
  if (item.empty()) return;
  const auto range = item.size() <= longest_item ? parse_item(item) : std::nullopt;
  const auto refuse = [&](const std::string& problem) {
    throw Error(kind, fmt::format("{}: '{}{}' {}", where(), item.substr(0, longest_item),
                                  item.size() > longest_item ? "..." : "", problem));
  };
  if (!range) refuse("is not an id or a range of ids; write 5 or 10-20 (64-bit integers)");
  if (range->first > range->last) refuse("is a range that ends before it begins");
  if (range->first <= -1 && range->last >= -1) refuse("holds -1, which marks missing results and is never an id");
  visit(range->first, range->last);
}

/// A descriptor that is read to its end. "-" is standard input.
class TextInput {
 public:
  TextInput(const std::string& path, const std::string& spec, std::string_view option)
      : name_(path == "-" ? "standard input" : path), fd_(path == "-" ? STDIN_FILENO : open_file(path)) {
    if (fd_ >= 0) return;
    const int error = errno;
    // A misspelt list of ids looks like a file that is missing.
    if (error == ENOENT && path == spec) {
      misuse("{}: '{}' is neither a list of ids (5, 5,9,12 or 10-20) nor a file", option, spec);
    }
    failed("{}: cannot be opened: {}", name_, std::strerror(error));
  }
  TextInput(const TextInput&) = delete;
  TextInput& operator=(const TextInput&) = delete;
  ~TextInput() {
    if (fd_ > STDERR_FILENO) ::close(fd_);
  }

  const std::string& name() const { return name_; }

  /// What comes next; empty at the end.
  std::string_view next() {
    for (;;) {
      throw_if_interrupted();
      const ssize_t got = ::read(fd_, buffer_.data(), buffer_.size());
      // The end of a pipe after a signal is not the end of the ids.
      throw_if_interrupted();
      if (got >= 0) return {buffer_.data(), static_cast<std::size_t>(got)};
      if (errno != EINTR) failed("{}: cannot be read: {}", name_, std::strerror(errno));
    }
  }

 private:
  static int open_file(const std::string& path) { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }

  std::string name_;
  int fd_;
  std::array<char, 65536> buffer_;
};

void read_text(TextInput& input, const Visitor& visit) {
  std::uint64_t line = 1;
  std::string item;
  const auto finish = [&] {
    visit_item(
        item, ErrorKind::corrupt, [&] { return fmt::format("{}: line {}", input.name(), line); }, visit);
    item.clear();
  };
  for (std::string_view text = input.next(); !text.empty(); text = input.next()) {
    for (const char c : text) {
      if (c == ',' || c == '\n') {
        finish();
        line += c == '\n';
      } else if (item.size() <= longest_item) {  // One character more shows that it is too long.
        item += c;
      }
    }
  }
  finish();
}

void read_matrix(const std::string& spec, const Visitor& visit) {
  const auto reader = datasets::open_reader(spec);
  constexpr std::size_t batch_values = 65536;
  const std::size_t dim = reader->dim();
  std::vector<idx_t> batch(std::max<std::size_t>(1, batch_values / dim) * dim);
  std::uint64_t row = 0;
  while (const std::size_t rows = reader->read_ids(batch.data(), batch.size() / dim)) {
    throw_if_interrupted();
    for (std::size_t i = 0; i < rows * dim; ++i) {
      if (batch[i] == -1) {
        corrupt("{}: row {}, column {}: -1 marks missing results and is never an id", reader->name(), row + i / dim,
                i % dim);
      }
      visit(batch[i], batch[i]);
    }
    row += rows;
  }
  throw_if_interrupted();
}

void read_words(std::string_view spec, const Visitor& visit, std::string_view option) {
  while (!spec.empty()) {
    const auto comma = std::min(spec.find(','), spec.size());
    visit_item(
        spec.substr(0, comma), ErrorKind::misuse, [&] { return std::string(option); }, visit);
    spec.remove_prefix(std::min(comma + 1, spec.size()));
  }
}

/// Ids and ranges by themselves, rather than the name of a file.
bool is_word_of_ids(const std::string& spec) {
  return spec != "-" && spec.find_first_not_of("0123456789,- ") == std::string::npos;
}

std::string file_of(const std::string& spec) { return spec.front() == '@' ? spec.substr(1) : spec; }

}  // namespace

bool names_id_matrix(const std::string& spec) {
  if (is_word_of_ids(spec) || spec == "-") return false;
  try {
    datasets::fixed_element(file_of(spec));
    return true;
  } catch (const Error&) {  // No format of vectors: text.
    return false;
  }
}

void read_ids(const std::string& spec, const Visitor& visit, std::string_view option) {
  if (spec.empty() || spec == "@") misuse("{}: names no ids; write 5, 5,9,12, 10-20 or a file", option);
  if (is_word_of_ids(spec)) {
    read_words(spec, visit, option);
    return;
  }
  const std::string path = file_of(spec);
  if (names_id_matrix(spec)) {
    read_matrix(path, visit);
  } else {
    TextInput input(path, spec, option);
    read_text(input, visit);
  }
}

std::optional<IdRange> parse_id_range(std::string_view text) { return parse_item(trimmed(text)); }

bool is_standard_input(const std::string& spec) { return !spec.empty() && file_of(spec) == "-"; }

bool IdRanges::add(IdRange range) {
  // Most lists are in order.
  if (!ranges_.empty() && ranges_.back().last < range.first && range.first - 1 == ranges_.back().last) {
    ranges_.back().last = range.last;
    return true;
  }
  if (ranges_.size() == most_) return false;
  ranges_.push_back(range);
  return true;
}

IdSet read_id_set(const std::string& spec, std::uint64_t memory, std::string_view option) {
  IdRanges ranges(memory);
  const auto add = [&](idx_t first, idx_t last) {
    if (!ranges.add({first, last}))
      misuse("{}: names more than {} ids and ranges apart from each other; raise --max-memory", option, ranges.most());
  };
  read_ids(spec, add, option);
  return IdSet(ranges.take());
}

std::vector<idx_t> read_id_list(const std::string& spec, std::uint64_t most, std::string_view option) {
  std::vector<idx_t> ids;
  const auto add = [&](idx_t first, idx_t last) {
    // Unsigned arithmetic: a range may span more than half of all numbers.
    const std::uint64_t more = static_cast<std::uint64_t>(last) - static_cast<std::uint64_t>(first);
    if (more >= most - ids.size()) {
      misuse("{}: names more than {} ids; name fewer at a time, or raise --max-memory", option, most);
    }
    for (idx_t id = first; id < last; ++id) ids.push_back(id);
    ids.push_back(last);
  };
  read_ids(spec, add, option);
  return ids;
}

}  // namespace ivf::cli

#include "result_lines.h"

#include <cfloat>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "bench/json_lines.h"
#include "message.h"
#include "text_lines.h"

namespace ivf::cli {
namespace {

// A wrong query number must not become endless queries without results.
constexpr std::uint64_t longest_gap = std::uint64_t{1} << 20;

/// What a result takes: its id, and its distance with both again where a merge puts them together. A vector that grows
/// takes twice its room.
constexpr std::uint64_t bytes_of_result(bool with_distance) {
  return 2 * (sizeof(idx_t) + (with_distance ? sizeof(float) + sizeof(std::pair<float, idx_t>) : 0));
}

/// The fields of a line of JSON that results have.
class ResultFields final : public bench::JsonFields {
 public:
  ResultFields(const ResultLines& lines, bool with_distances, ResultLine& line, std::uint64_t most)
      : lines_(lines), with_distances_(with_distances), line_(line), most_(most) {}

  void line(const bench::JsonItem& value) override {
    if (value.kind != bench::JsonItem::Kind::object) refuse(json_excerpt(value));
  }

  void field(const std::string& key, const bench::JsonItem& value) override {
    array_ = Array::other;
    if (key == "query") {
      once(has_query_, key);
      if (value.kind != bench::JsonItem::Kind::integer || value.integer < 0) refuse_field(key, value);
      line_.query = static_cast<std::uint64_t>(value.integer);
    } else if (key == "ids") {
      once(has_ids_, key);
      if (value.kind != bench::JsonItem::Kind::array) refuse_field(key, value);
      array_ = Array::ids;
    } else if (key == "distances" && with_distances_) {
      once(has_distances_, key);
      if (value.kind != bench::JsonItem::Kind::array) refuse_field(key, value);
      array_ = Array::distances;
    }
  }

  void element(const bench::JsonItem& value) override {
    if (array_ == Array::ids) {
      if (value.kind != bench::JsonItem::Kind::integer) refuse_field("ids", value);
      check_room(line_.ids.size());
      line_.ids.push_back(value.integer);
    } else if (array_ == Array::distances) {
      check_room(line_.distances.size());
      line_.distances.push_back(distance(value));
    }
  }

  void finish() const {
    if (!has_query_) refuse("an object without \"query\"");
    if (!has_ids_) refuse("an object without \"ids\"");
    if (!with_distances_) return;
    if (!has_distances_) refuse("an object without \"distances\"");
    if (line_.ids.size() != line_.distances.size())
      refuse(fmt::format("{} and {}", counted(line_.ids.size(), "id"), counted(line_.distances.size(), "distance")));
  }

  [[noreturn]] void refuse(const std::string& found) const {
    lines_.refuse(with_distances_ ? "an object with \"query\" (a number), \"ids\" (an array of integers) and as many "
                                    "\"distances\""
                                  : "an object with \"query\" (a number) and \"ids\" (an array of integers)",
                  found);
  }

 private:
  enum class Array { ids, distances, other };

  [[noreturn]] void refuse_field(const std::string& key, const bench::JsonItem& value) const {
    refuse(fmt::format("{} in \"{}\"", json_excerpt(value), key));
  }

  void once(bool& has, const std::string& key) const {
    if (has) refuse(fmt::format("\"{}\" twice", key));
    has = true;
  }

  void check_room(std::size_t held) const {
    if (held >= most_)
      misuse("{}: a query has more than {} results; raise --max-memory", lines_.name(), grouped(most_));
  }

  float distance(const bench::JsonItem& value) const {
    // JSON has no infinity: a distance that is too large for float32 is null.
    if (value.kind == bench::JsonItem::Kind::null) return std::numeric_limits<float>::infinity();
    if (value.kind != bench::JsonItem::Kind::integer && value.kind != bench::JsonItem::Kind::number)
      refuse_field("distances", value);
    if (std::abs(value.number) > FLT_MAX)
      return std::copysign(std::numeric_limits<float>::infinity(), static_cast<float>(value.number > 0 ? 1 : -1));
    return static_cast<float>(value.number);
  }

  const ResultLines& lines_;
  bool with_distances_;
  ResultLine& line_;
  std::uint64_t most_;
  bool has_query_ = false, has_ids_ = false, has_distances_ = false;
  Array array_ = Array::other;
};

}  // namespace

ResultLines::ResultLines(std::istream& in, std::string name, TextFormat format, Columns columns, std::uint64_t memory)
    : in_(in), name_(std::move(name)), format_(format), columns_(columns), memory_(memory) {}

void ResultLines::refuse(const std::string& expected, const std::string& found) const {
  corrupt("{}: line {}: expected {}; found {}", name_, number_, expected, found);
}

bool ResultLines::next(ResultLine& line) {
  do {
    ++number_;
    if (!read_bounded_line(in_, text_, name_, number_, memory_)) return false;
  } while (text_.empty());
  line.ids.clear();
  line.distances.clear();
  format_ == TextFormat::jsonl ? parse_json(line) : parse_tsv(line);
  check_order(line);
  started_ = true;
  query_ = line.query;
  rank_ = line.rank;
  return true;
}

void ResultLines::check_order(const ResultLine& line) const {
  const bool goes_on = started_ && line.rank > 0 && line.query == query_;
  if (line.rank > 0 && line.rank != (goes_on ? rank_ + 1 : 1))
    refuse("ranks that count on from 1", fmt::format("rank {} of query {}", line.rank, line.query));
  if (goes_on) return;
  const std::uint64_t from = started_ ? query_ + 1 : 0;
  const auto found = [&] {
    return fmt::format("query {}{}", line.query, started_ ? fmt::format(" after query {}", query_) : "");
  };
  if (line.query < from) refuse("queries in ascending order, each in one place", found());
  if (line.query - from > longest_gap) refuse("a query number near the one before it", found());
}

void ResultLines::parse_tsv(ResultLine& line) const {
  const char* at = text_.data();
  const char* const end = at + text_.size();
  const auto no_line = [&] { refuse("query, rank, id and distance, separated by tabs", bench::text_excerpt(text_)); };
  const auto number = [&](auto& value, bool last) {
    const auto [stop, error] = std::from_chars(at, end, value);
    if (error != std::errc() || (last ? stop != end : stop == end || *stop != '\t')) no_line();
    at = last ? stop : stop + 1;
  };
  number(line.query, false);
  number(line.rank, false);
  number(line.ids.emplace_back(), false);
  if (columns_ == Columns::ids_and_distances) number(line.distances.emplace_back(), true);
  if (line.rank == 0 || (columns_ == Columns::ids_and_distances && std::isnan(line.distances.back()))) no_line();
}

void ResultLines::parse_json(ResultLine& line) const {
  line.rank = 0;
  const bool with_distances = columns_ == Columns::ids_and_distances;
  ResultFields fields(*this, with_distances, line, memory_ / bytes_of_result(with_distances));
  if (const auto found = bench::visit_json(text_, fields)) fields.refuse(*found);
  fields.finish();
}

}  // namespace ivf::cli

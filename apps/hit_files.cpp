#include "hit_files.h"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include <nlohmann/json.hpp>

#include "message.h"
#include "signals.h"

namespace ivf::cli {
namespace {

/// A wrong query number must not become endless output of queries without hits.
constexpr std::uint64_t longest_gap = std::uint64_t{1} << 20;

}  // namespace

HitFile::HitFile(const std::string& spec) : source_(parse_destination(spec)) {
  if (source_.text != TextFormat::tsv && source_.text != TextFormat::jsonl) {
    misuse("{}: results to merge are .tsv or .jsonl, or tsv:FILE or jsonl:FILE, which hold ids and distances", spec);
  }
  file_.open(source_.path);
  if (!file_) failed("{}: cannot be opened: {}", source_.path, std::strerror(errno));
  ahead_ = read_line();
  next();
}

void HitFile::refuse(const char* expected) const { corrupt("{}: line {}: expected {}", source_.path, line_, expected); }

void HitFile::next() {
  if (!ahead_) {
    at_end_ = true;
    return;
  }
  const std::uint64_t from = started_ ? current_.query + 1 : 0;
  if (ahead_->hits.query < from) refuse("queries in ascending order");
  if (ahead_->hits.query - from > longest_gap) refuse("a query number near the one before it");
  if (ahead_->rank > 1) refuse("ranks that count on from 1");
  started_ = true;
  const bool one_line = ahead_->rank == 0;
  current_ = std::move(ahead_->hits);
  ahead_ = read_line();
  while (!one_line && ahead_ && ahead_->hits.query == current_.query) {
    if (ahead_->rank != current_.hits.size() + 1) refuse("ranks that count on from 1");
    current_.hits.push_back(ahead_->hits.hits.front());
    ahead_ = read_line();
  }
}

std::optional<HitFile::Line> HitFile::read_line() {
  while (std::getline(file_, text_)) {
    throw_if_interrupted();
    ++line_;
    if (!text_.empty()) return source_.text == TextFormat::jsonl ? parse_json() : parse_tsv();
  }
  throw_if_interrupted();
  if (file_.bad()) failed("{}: cannot be read: {}", source_.path, std::strerror(errno));
  return std::nullopt;
}

HitFile::Line HitFile::parse_tsv() const {
  static constexpr const char* shape = "query, rank, id and distance, separated by tabs";
  const char* at = text_.data();
  const char* const end = at + text_.size();
  const auto number = [&](auto& value, bool last) {
    const auto [stop, error] = std::from_chars(at, end, value);
    if (error != std::errc() || (last ? stop != end : stop == end || *stop != '\t')) refuse(shape);
    at = last ? stop : stop + 1;
  };
  Line line;
  float distance = 0;
  idx_t id = 0;
  number(line.hits.query, false);
  number(line.rank, false);
  number(id, false);
  number(distance, true);
  if (line.rank == 0 || std::isnan(distance)) refuse(shape);
  line.hits.hits.emplace_back(distance, id);
  return line;
}

HitFile::Line HitFile::parse_json() const {
  static constexpr const char* shape =
      "an object with \"query\" (a number), \"ids\" (an array of integers) and as many \"distances\"";
  const auto value = nlohmann::json::parse(text_, nullptr, false);
  if (!value.is_object() || !value.contains("query") || !value["query"].is_number_unsigned() ||
      !value.contains("ids") || !value["ids"].is_array() || !value.contains("distances") ||
      !value["distances"].is_array() || value["ids"].size() != value["distances"].size()) {
    refuse(shape);
  }
  Line line;
  line.hits.query = value["query"].get<std::uint64_t>();
  for (std::size_t i = 0; i < value["ids"].size(); ++i) {
    const auto &id = value["ids"][i], &distance = value["distances"][i];
    if (!id.is_number_integer() || !(distance.is_number() || distance.is_null())) refuse(shape);
    // JSON has no infinity: a distance that is too large for float32 is null.
    line.hits.hits.emplace_back(
        distance.is_null() ? std::numeric_limits<float>::infinity() : static_cast<float>(distance.get<double>()),
        id.get<idx_t>());
  }
  return line;
}

}  // namespace ivf::cli

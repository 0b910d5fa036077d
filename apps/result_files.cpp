#include "result_files.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iostream>
#include <limits>

#include <nlohmann/json.hpp>

#include "destination.h"
#include "ivf/datasets/datasets.hpp"
#include "message.h"
#include "signals.h"

namespace ivf::cli {
namespace {

class MatrixResults final : public ResultFile {
 public:
  explicit MatrixResults(const std::string& spec) {
    datasets::ReadOptions options;
    options.role = datasets::Role::neighbors;
    reader_ = datasets::open_reader(spec, options);
  }
  const std::string& name() const override { return reader_->name(); }
  std::size_t width() const override { return reader_->dim(); }
  std::optional<std::uint64_t> rows() const override { return reader_->rows(); }
  std::size_t next(std::vector<idx_t>& ids, std::size_t max_rows) override {
    ids.resize(max_rows * width());
    const std::size_t count = reader_->read_ids(ids.data(), max_rows);
    ids.resize(count * width());
    return count;
  }

 private:
  std::unique_ptr<datasets::Reader> reader_;
};

/// Rows of text may be of different lengths (missing results are left out), so they are read as a whole.
class TextResults final : public ResultFile {
 public:
  TextResults(std::string name, std::vector<std::vector<idx_t>> rows) : name_(std::move(name)), rows_(std::move(rows)) {
    for (const auto& row : rows_) width_ = std::max(width_, row.size());
  }
  const std::string& name() const override { return name_; }
  std::size_t width() const override { return width_; }
  std::optional<std::uint64_t> rows() const override { return rows_.size(); }
  std::size_t next(std::vector<idx_t>& ids, std::size_t max_rows) override {
    const std::size_t count = std::min(max_rows, rows_.size() - at_);
    ids.assign(count * width_, -1);
    for (std::size_t i = 0; i < count; ++i) {
      const auto& row = rows_[at_ + i];
      std::copy(row.begin(), row.end(), ids.begin() + static_cast<std::ptrdiff_t>(i * width_));
    }
    at_ += count;
    return count;
  }

 private:
  std::string name_;
  std::vector<std::vector<idx_t>> rows_;
  std::size_t width_ = 0, at_ = 0;
};

/// No file of results is taken to have more queries than this: a wrong query number must not become a huge allocation.
constexpr std::uint64_t most_queries = std::uint64_t{1} << 32;

class TextParser {
 public:
  TextParser(const std::string& name, TextFormat format) : name_(name), format_(format) {}

  std::vector<std::vector<idx_t>> parse(std::istream& in) {
    std::string line;
    while (std::getline(in, line)) {
      throw_if_interrupted();
      ++line_;
      if (line.empty()) continue;
      format_ == TextFormat::jsonl ? parse_json(line) : parse_tsv(line);
    }
    throw_if_interrupted();
    if (in.bad()) failed("{}: cannot be read: {}", name_, std::strerror(errno));
    return std::move(rows_);
  }

 private:
  [[noreturn]] void refuse(const char* expected) const { corrupt("{}: line {}: expected {}", name_, line_, expected); }

  /// Queries come in order; those without a result have no line in a .tsv file.
  std::vector<idx_t>& row(std::uint64_t query) {
    if (query >= most_queries) refuse("a query number below 2^32");
    if (!rows_.empty() && query + 1 < rows_.size()) refuse("queries in ascending order");
    if (query >= rows_.size() + (std::uint64_t{1} << 20)) refuse("a query number near the one before it");
    rows_.resize(std::max<std::size_t>(rows_.size(), query + 1));
    return rows_[query];
  }

  void parse_json(const std::string& line) {
    static constexpr const char* shape = "an object with \"query\" (a number) and \"ids\" (an array of integers)";
    const auto value = nlohmann::json::parse(line, nullptr, false);
    if (!value.is_object() || !value.contains("query") || !value["query"].is_number_unsigned() ||
        !value.contains("ids") || !value["ids"].is_array()) {
      refuse(shape);
    }
    std::vector<idx_t>& ids = row(value["query"].get<std::uint64_t>());
    if (!ids.empty()) refuse("one line a query");
    for (const auto& id : value["ids"]) {
      if (!id.is_number_integer()) refuse(shape);
      ids.push_back(id.get<idx_t>());
    }
  }

  void parse_tsv(const std::string& line) {
    static constexpr const char* shape = "query, rank, id and distance, separated by tabs";
    const char* at = line.data();
    const char* const end = line.data() + line.size();
    const auto number = [&](auto& value) {
      const auto [next, error] = std::from_chars(at, end, value);
      if (error != std::errc() || next == end || *next != '\t') refuse(shape);
      at = next + 1;
    };
    std::uint64_t query = 0, rank = 0;
    idx_t id = 0;
    number(query);
    number(rank);
    number(id);
    std::vector<idx_t>& ids = row(query);
    if (rank != ids.size() + 1) refuse("ranks that count on from 1");
    ids.push_back(id);
  }

  const std::string& name_;
  TextFormat format_;
  std::uint64_t line_ = 0;
  std::vector<std::vector<idx_t>> rows_;
};

}  // namespace

std::unique_ptr<ResultFile> ResultFile::open(const std::string& spec) {
  const Destination source = parse_destination(spec, TextFormat::tsv);
  if (source.text == TextFormat::none) return std::make_unique<MatrixResults>(spec);
  if (source.text == TextFormat::table)
    misuse("{}: a table is made for reading; write results as .jsonl or .tsv", spec);
  const std::string name = source.pipe() ? "standard input" : source.path;
  TextParser parser(name, source.text);
  if (source.pipe()) return std::make_unique<TextResults>(name, parser.parse(std::cin));
  std::ifstream file(source.path);
  if (!file) failed("{}: cannot be opened: {}", name, std::strerror(errno));
  return std::make_unique<TextResults>(name, parser.parse(file));
}

}  // namespace ivf::cli

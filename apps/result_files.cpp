#include "result_files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <span>

#include "destination.h"
#include "ivf/datasets/datasets.hpp"
#include "message.h"
#include "result_lines.h"

namespace ivf::cli {
namespace {

/// No file of results is taken to have more queries than this: a wrong query number must not become endless rows.
constexpr std::uint64_t most_queries = std::uint64_t{1} << 32;
constexpr std::size_t result_values_at_once = std::size_t{1} << 20;

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

/// Rows of text may be of different lengths (missing results are left out), so they are read as a whole. Held as one
/// after the other: what a query without results takes, and one that many follow, does not depend on the others.
class TextResults final : public ResultFile {
 public:
  TextResults(ResultLines& lines, std::uint64_t memory) : name_(lines.name()) {
    ResultLine line;
    while (lines.next(line)) {
      if (line.query >= most_queries) lines.refuse("a query number below 2^32", fmt::format("query {}", line.query));
      if (queries_.empty() || queries_.back().number != line.query) queries_.push_back({line.query, ids_.size()});
      ids_.insert(ids_.end(), line.ids.begin(), line.ids.end());
      // Vectors that grow take twice their room.
      if (2 * (ids_.size() * sizeof(idx_t) + queries_.size() * sizeof(Query)) > memory)
        misuse("{}: holds more results than fit into {}; raise --max-memory", name_, human_bytes(memory));
    }
    for (std::size_t i = 0; i < queries_.size(); ++i) width_ = std::max(width_, of(i).size());
  }
  const std::string& name() const override { return name_; }
  std::size_t width() const override { return width_; }
  std::optional<std::uint64_t> rows() const override { return queries_.empty() ? 0 : queries_.back().number + 1; }
  std::size_t next(std::vector<idx_t>& ids, std::size_t max_rows) override {
    // One query with many results must not multiply with the number of rows.
    const std::size_t fit = std::max<std::size_t>(1, result_values_at_once / std::max<std::size_t>(1, width_));
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(std::min(max_rows, fit), *rows() - row_));
    ids.assign(count * width_, -1);
    for (; at_ < queries_.size() && queries_[at_].number < row_ + count; ++at_) {
      const auto found = of(at_);
      std::copy(found.begin(), found.end(),
                ids.begin() + static_cast<std::ptrdiff_t>((queries_[at_].number - row_) * width_));
    }
    row_ += count;
    return count;
  }

 private:
  struct Query {
    std::uint64_t number;
    std::size_t begin;  ///< Of its ids; the next one's end them.
  };
  std::span<const idx_t> of(std::size_t i) const {
    const std::size_t end = i + 1 < queries_.size() ? queries_[i + 1].begin : ids_.size();
    return std::span(ids_).subspan(queries_[i].begin, end - queries_[i].begin);
  }

  std::string name_;
  std::vector<Query> queries_;
  std::vector<idx_t> ids_;
  std::size_t width_ = 0;
  std::uint64_t row_ = 0;  ///< The next one that is given out.
  std::size_t at_ = 0;     ///< The first query from there on that has a line.
};

}  // namespace

std::unique_ptr<ResultFile> ResultFile::open(const std::string& spec, std::uint64_t memory) {
  const Destination source = parse_destination(spec, TextFormat::tsv);
  if (source.text == TextFormat::none) return std::make_unique<MatrixResults>(spec);
  if (source.text == TextFormat::table)
    misuse("{}: a table is made for reading; write results as .jsonl or .tsv", spec);
  std::ifstream file;
  if (!source.pipe()) {
    file.open(source.path);
    if (!file) failed("{}: cannot be opened: {}", source.path, std::strerror(errno));
  }
  // Half for what is kept, an eighth for the line that is read.
  ResultLines lines(source.pipe() ? std::cin : file, source.pipe() ? "standard input" : source.path, source.text,
                    ResultLines::Columns::ids, memory / 8);
  return std::make_unique<TextResults>(lines, memory / 2);
}

}  // namespace ivf::cli

#pragma once
/// \file
/// Results as text, line by line, as `ivf search` writes them.

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

#include "destination.h"
#include "ivf/types.hpp"

namespace ivf::cli {

/// A line of results: one of a .tsv file, or all that one query has, of a .jsonl file.
struct ResultLine {
  std::uint64_t query = 0;
  std::uint64_t rank = 0;  ///< Of the only result, from 1; 0: these are all results of the query.
  std::vector<idx_t> ids;
  std::vector<float> distances;  ///< As many as ids, or none when they were not asked for.
};

/// Reads results as a stream. Queries ascend and ranks count on, or else Error(corrupt) names the line, what was
/// expected and what was found.
class ResultLines {
 public:
  enum class Columns { ids, ids_and_distances };

  /// `format` is TextFormat::tsv or TextFormat::jsonl. A line that would take more than `memory` bytes is refused; `in`
  /// outlives this.
  ResultLines(std::istream& in, std::string name, TextFormat format, Columns columns, std::uint64_t memory);

  /// The next line that is not empty; false at the end.
  bool next(ResultLine& line);
  [[noreturn]] void refuse(const std::string& expected, const std::string& found) const;
  const std::string& name() const noexcept { return name_; }

 private:
  void parse_tsv(ResultLine& line) const;
  void parse_json(ResultLine& line) const;
  void check_order(const ResultLine& line) const;

  std::istream& in_;
  std::string name_;
  TextFormat format_;
  Columns columns_;
  std::uint64_t memory_;
  std::string text_;
  std::uint64_t number_ = 0;  ///< Of the line, from 1.
  bool started_ = false;
  std::uint64_t query_ = 0, rank_ = 0;  ///< Of the line before.
};

}  // namespace ivf::cli

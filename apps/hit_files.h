#pragma once
/// \file
/// Reading back what a search found, ids with their distances, query by query.

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "destination.h"
#include "ivf/types.hpp"

namespace ivf::cli {

/// What was found for one query.
struct QueryHits {
  std::uint64_t query = 0;
  std::vector<std::pair<float, idx_t>> hits;
};

/// A .tsv or .jsonl file that `ivf search` wrote, read as a stream. Throws Error(corrupt) with the line for what is
/// none.
class HitFile {
 public:
  explicit HitFile(const std::string& spec);

  /// The next query, in ascending order; null at the end. Those for which nothing was found may be left out.
  const QueryHits* current() const noexcept { return at_end_ ? nullptr : &current_; }
  void next();

 private:
  struct Line {
    QueryHits hits;
    std::uint64_t rank = 0;  ///< Of the only hit, from 1; 0: all hits of the query.
  };
  [[noreturn]] void refuse(const char* expected) const;
  /// The next line that is not empty.
  std::optional<Line> read_line();
  Line parse_tsv() const;
  Line parse_json() const;

  Destination source_;
  std::ifstream file_;
  std::string text_;
  std::uint64_t line_ = 0;
  std::optional<Line> ahead_;
  QueryHits current_;
  bool started_ = false, at_end_ = false;
};

}  // namespace ivf::cli

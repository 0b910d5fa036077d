#pragma once
/// \file
/// Reading back what a search found, ids with their distances, query by query.

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ivf/types.hpp"
#include "result_lines.h"

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
  /// `memory`: bytes for the results of one query; Error(misuse) for a query that has more.
  HitFile(const std::string& spec, std::uint64_t memory);
  HitFile(const HitFile&) = delete;
  HitFile& operator=(const HitFile&) = delete;

  /// The next query, in ascending order; null at the end. Those for which nothing was found may be left out.
  const QueryHits* current() const noexcept { return at_end_ ? nullptr : &current_; }
  void next();

 private:
  void take_line();

  std::uint64_t most_;
  std::ifstream file_;
  std::optional<ResultLines> lines_;
  ResultLine ahead_;
  QueryHits current_;
  bool has_ahead_ = false, at_end_ = false;
};

}  // namespace ivf::cli

#pragma once
/// \file
/// Reading back the ids that a search wrote, in any of its formats.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ivf/types.hpp"

namespace ivf::cli {

/// Ids of results, query by query. Missing ones are -1.
class ResultFile {
 public:
  virtual ~ResultFile() = default;
  /// Opens .jsonl and .tsv files and whatever datasets can read. Text is held in `memory` bytes; Error(misuse) when it
  /// takes more.
  static std::unique_ptr<ResultFile> open(const std::string& spec, std::uint64_t memory);

  virtual const std::string& name() const = 0;
  /// Results of each query.
  virtual std::size_t width() const = 0;
  /// Number of queries, when it is known before the end.
  virtual std::optional<std::uint64_t> rows() const = 0;
  /// Reads up to `max_rows` rows into `ids` (resized, row-major), fewer where they are wide. Returns their number, 0 at
  /// the end.
  virtual std::size_t next(std::vector<idx_t>& ids, std::size_t max_rows) = 0;
};

}  // namespace ivf::cli

#pragma once
/// \file
/// Search results on their way out: to files of every format, to a pipe, to a terminal.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "destination.h"
#include "ivf/types.hpp"

namespace ivf::cli {

/// Neighbours of each query: unless -k says otherwise, and at most.
inline constexpr std::uint64_t default_k = 10;
inline constexpr std::uint64_t most_k = 16'384;

/// What the rows of a result file look like, known before the first of them.
struct ResultShape {
  Metric metric = Metric::l2;
  std::size_t k = 0;  ///< 0: any number of results a query (range search).
  /// Distances as ann-benchmarks defines them (Euclidean, not squared; 1 - cosine), for HDF5 files that carry its
  /// attribute `distance`. All other files hold the canonical values.
  bool ann_benchmarks = false;
};

/// Results of consecutive queries.
struct ResultRows {
  std::uint64_t first_query = 0;
  std::size_t nq = 0;
  std::size_t k = 0;                      ///< Row-major nq x k, or
  std::span<const std::uint64_t> lims{};  ///< query i's are [lims[i], lims[i+1]).
  std::span<const float> distances;
  std::span<const idx_t> ids;

  std::size_t begin(std::size_t query) const {
    return lims.empty() ? query * k : static_cast<std::size_t>(lims[query]);
  }
  std::size_t end(std::size_t query) const {
    return lims.empty() ? (query + 1) * k : static_cast<std::size_t>(lims[query + 1]);
  }
};

/// Takes results in order of queries. Files appear at finish(); without it nothing is left behind.
class ResultSink {
 public:
  virtual ~ResultSink() = default;
  virtual void write(const ResultRows& rows) = 0;
  virtual void finish() = 0;
};

/// Opens the destinations of ids (or of both) and of distances. With two files, both appear or, as far as renaming two
/// files allows, neither. Throws Error(misuse) for combinations that make no sense.
std::unique_ptr<ResultSink> open_results(const std::optional<Destination>& out,
                                         const std::optional<Destination>& distances, const ResultShape& shape);

/// The exact text of a float32: the shortest that reads back as the same value. "null" in JSON when it is not finite.
void append_float(std::string& out, float value);
void append_json_float(std::string& out, float value);

}  // namespace ivf::cli

#pragma once
/// \file
/// What the tests of the engine share: forcing a level, building an index beside its oracle, comparing bits.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ivf/datasets/datasets.hpp"
#include "ivf/index.hpp"
#include "support/oracle.h"
#include "support/shapes.h"

namespace ivf::support {

/// Forces an instruction-set level through IVF_ISA for the length of a scope.
class ForcedLevel {
 public:
  explicit ForcedLevel(std::string_view level);
  ForcedLevel(const ForcedLevel&) = delete;
  ForcedLevel& operator=(const ForcedLevel&) = delete;
  ~ForcedLevel();

 private:
  bool was_set_;
  std::string before_;
};

/// Every level that this machine can run.
std::vector<std::string> levels();

/// Rows, ids and centroids as the caller passes them, and as the oracle compares them (normalised for cosine).
struct Scene {
  Metric metric = Metric::l2;
  std::size_t d = 1;
  std::size_t nlist = 1;
  std::vector<float> rows, centroids, queries;
  std::vector<idx_t> ids;  ///< Empty: positions.
  std::vector<float> stored_rows, stored_queries;

  /// Fills stored_rows and stored_queries.
  void prepare();
  std::size_t n() const { return rows.size() / d; }
  std::size_t nq() const { return queries.size() / d; }
  MatrixView row_view() const { return {rows.data(), n(), d}; }
  MatrixView query_view() const { return {queries.data(), nq(), d}; }
  const float* stored_query(std::size_t i) const { return stored_queries.data() + i * d; }
  oracle::Rows stored() const { return {stored_rows, ids, d}; }
  oracle::Rows stored_centroids() const { return {centroids, {}, d}; }
  /// A trained index without rows, and one with all rows added in `pieces` calls, on a device.
  IndexIVFFlat empty_ivf(const Placement& placement = {}) const;
  IndexIVFFlat ivf(std::size_t pieces = 1, const Placement& placement = {}) const;
  IndexFlat flat(std::size_t pieces = 1, const Placement& placement = {}) const;
  void add_all(Index& index, std::size_t pieces) const;
  void add_to(Index& index, std::size_t first, std::size_t count) const;
};

/// How far values may be from the oracle's, in units of the last place, and how many were.
struct Tolerance {
  std::uint32_t ulps = 0;
  std::uint64_t compared = 0, off = 0;
};

/// "" when result row `q` is these hits, to the last bit or within a tolerance of their values; otherwise what differs.
std::string difference(const SearchResult& result, std::size_t q, const std::vector<oracle::Hit>& expected,
                       Tolerance* tolerance = nullptr);
std::string difference(const RangeResult& result, std::size_t q, const std::vector<oracle::Hit>& expected,
                       Tolerance* tolerance = nullptr);

/// Equality of bits: tells -0 from 0.
bool same_bits(const std::vector<float>& a, const std::vector<float>& b);
/// Ids and distances, not statistics.
bool same_results(const SearchResult& a, const SearchResult& b);

/// Vectors of a data set or a generator.
struct Matrix {
  std::vector<float> values;
  std::size_t d = 0;
  MatrixView view() const { return {values.data(), values.size() / d, d}; }
};
/// At most `most` vectors of what `spec` names.
Matrix read_matrix(const std::string& spec, datasets::Role role, std::uint64_t most);

std::string metric_name(Metric metric);
std::string read_file(const std::string& path);

/// The kind and the message of the Error that `action` throws; "" when it throws none.
template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    const char* kinds[] = {"", "failed: ", "misuse: ", "corrupt: "};
    return kinds[static_cast<int>(error.kind())] + std::string(error.what());
  }
  return "";
}

}  // namespace ivf::support

#pragma once
/// \file
/// Random and adversarial searches with the results that the oracle expects of them, which every backend answers to.

#include <cstdint>
#include <string>
#include <vector>

#include "engine_fixture.h"

namespace ivf::support {

constexpr SearchMode all_modes[] = {SearchMode::automatic, SearchMode::matrix, SearchMode::csr};
constexpr Metric all_metrics[] = {Metric::l2, Metric::ip, Metric::cosine};

/// Rows, centroids and queries of a kind, of random counts; some queries are rows.
Scene random_scene(Metric metric, shapes::Kind kind, std::size_t d, shapes::Random& random);
/// Clustered data that may fill scan blocks and query tiles; the centroids are rows.
Scene large_scene(Metric metric, std::size_t n, std::size_t d, std::size_t nlist, std::size_t nq, std::uint64_t seed);

/// Seconds that the random cases of a test may take; IVF_TEST_SECONDS lengthens them.
double seconds_for_cases(double otherwise);

/// A radius that some rows are within: the value of one of these hits, so that equality is met too.
float some_radius(Metric metric, const std::vector<std::vector<oracle::Hit>>& expected, shapes::Random& random);

/// One combination that a random case may have.
struct CaseKind {
  Metric metric;
  shapes::Kind kind;
  std::size_t d;
};
/// All of them, shuffled, so that the first few are a cross-section.
std::vector<CaseKind> case_kinds(std::uint64_t seed);

/// A random scene with random parameters, and what the oracle finds.
class RandomCase {
 public:
  RandomCase(const CaseKind& kind, std::uint64_t seed);

  const Scene& scene() const noexcept { return scene_; }
  const SearchParams& params() const noexcept { return params_; }
  /// For messages: what this case is.
  const std::string& about() const noexcept { return about_; }

  /// "" when the lists of the index, to which all rows were added, hold what the oracle puts there.
  std::string check_lists(const IndexIVFFlat& index) const;
  /// "" when both indexes, to which all rows were added, find what the oracle finds: by lists, exactly, and within a
  /// radius.
  std::string check(const IndexIVFFlat& ivf, const IndexFlat& flat, SearchMode mode, unsigned threads,
                    Tolerance* tolerance = nullptr) const;

 private:
  Scene scene_;
  SearchParams params_;
  float radius_ = 0;  ///< Some rows are within, and one exactly at it.
  std::string about_;
  std::vector<std::vector<idx_t>> lists_;
  std::vector<std::vector<oracle::Hit>> expected_, exact_, in_range_;
};

}  // namespace ivf::support

#pragma once
/// \file
/// Searches of indexes from which rows were removed, and of some rows only, with what the oracle expects of them over
/// the rows that are left.

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "random_cases.h"

namespace ivf::support {

/// Ids of some rows: `share` of them, and whatever else has the same id.
std::set<idx_t> some_ids(const Scene& scene, double share, shapes::Random& random);

IdSet id_set(const std::set<idx_t>& ids);

/// The scene without the rows of these ids.
Scene without(const Scene& scene, const std::set<idx_t>& ids);

/// What searches of a scene must find.
class Expectation {
 public:
  /// `exact`: over all rows. Otherwise those of the probed lists, unless the filter's rows are looked at directly.
  Expectation(const Scene& scene, const SearchParams& params, bool exact);

  const std::vector<std::vector<oracle::Hit>>& hits() const noexcept { return hits_; }
  /// "" when a search, or a search within a radius, found that; otherwise what differs.
  std::string check(const SearchResult& result, Tolerance* tolerance = nullptr) const;
  std::string check(const RangeResult& result, float radius, Tolerance* tolerance = nullptr) const;

 private:
  const Scene& scene_;
  std::vector<std::vector<std::size_t>> candidates_;
  std::vector<std::vector<oracle::Hit>> hits_;
};

/// A random case of which some rows are removed, and others named by a filter.
class RemovalCase {
 public:
  RemovalCase(const CaseKind& kind, std::uint64_t seed);
  RemovalCase(const RemovalCase&) = delete;
  RemovalCase& operator=(const RemovalCase&) = delete;

  /// "" when indexes of all rows on a device, from which those were then removed, find what the oracle finds, in every
  /// mode: by lists, in all rows, and within a radius, with the filter and without.
  std::string check(const Placement& placement, Tolerance* tolerance = nullptr);

 private:
  /// What is searched for, and what must be found: in the probed lists, in all rows, and in the lists within a radius.
  struct Question {
    SearchParams params;
    Expectation in_lists, in_all, near;
    float radius;
  };
  void ask(const SearchParams& params);
  std::string check(const Question& question, const IndexIVFFlat& ivf, const IndexFlat& flat, Tolerance* tolerance);

  RandomCase one_;
  shapes::Random random_;
  std::set<idx_t> gone_, named_;
  Scene rest_;  ///< What is not gone.
  std::vector<Question> questions_;
};

}  // namespace ivf::support

#pragma once
/// \file
/// The life of an index file: random sequences of everything that can be done to it, beside a model that is a plain
/// list of rows.

#include <cstdint>
#include <string>
#include <vector>

#include "engine_fixture.h"
#include "support/temporary_directory.h"

namespace ivf::support {

/// The rows of an index in the order of their arrival, and how they are numbered.
struct Model {
  std::vector<float> rows;
  std::vector<idx_t> ids;
  std::uint64_t next_id = 0;

  bool operator==(const Model&) const = default;
  void add(std::size_t dim, const std::vector<float>& more, const std::vector<idx_t>& more_ids);
  /// Removes the rows whose ids are in the set.
  void remove(std::size_t dim, const IdSet& ids);
};

/// One change of a file, and what it makes of a model. Made of numbers alone, so that another process can do the same.
struct Change {
  std::uint64_t seed = 0;
  std::size_t number = 0;   ///< Of the changes with this seed.
  bool one_commit = false;  ///< Otherwise there may be two.

  void apply(const std::string& path, std::size_t dim) const;
  void apply(Model& model, std::size_t dim) const;
};

/// An index file and its model. A process that is to die in the middle of a change is made of the test program itself,
/// which must answer to die_changing().
class Life {
 public:
  /// Searches run on `placement`; `program` is what to start to have a process killed, empty for none.
  Life(std::uint64_t seed, Placement placement, std::string program = {});

  /// Does one thing more to the file. Returns what is wrong.
  std::string step();
  /// Compares the file with the model: rows, numbering, searches of all kinds. Returns what is wrong.
  std::string check();

  std::size_t kills_before() const noexcept { return killed_before_; }  ///< That left the old state, ...
  std::size_t kills_after() const noexcept { return killed_after_; }    ///< ... and the new one.
  std::size_t largest() const noexcept { return largest_; }

 private:
  std::string change();
  std::string abandon();
  std::string kill();
  std::string compact();
  std::string merge();
  std::string split();
  /// "" when the file has these rows, in whatever order, and numbers. Nothing is searched.
  std::string difference_to(const Model& model) const;
  /// What is wrong with the results of an index (or of the shards of one) for random parameters.
  std::string check_searches(const std::vector<std::string>& paths);
  void take_centroids();
  /// The model, and queries.
  Scene scene();

  shapes::Random random_;
  Placement placement_;
  std::string program_;
  TemporaryDirectory directory_;
  std::string path_;
  Metric metric_;
  std::size_t dim_, nlist_;
  std::vector<float> centroids_;
  Model model_;
  std::uint64_t seed_;
  std::size_t changes_ = 0, killed_before_ = 0, killed_after_ = 0, largest_ = 0;
  std::string done_;  ///< The last things that were done, for messages.
};

/// To be called by a test case of the program that Life was given: applies the change that the environment names, and
/// does not return; returns when the environment names none.
void die_changing();

}  // namespace ivf::support

// Results as matrices of ids and distances, in the formats of datasets.

#include <algorithm>

#include "message.h"
#include "result_sinks.h"
#include "staged.h"

namespace ivf::cli {
namespace {

std::unique_ptr<datasets::Writer> open_matrix(const std::string& spec, std::size_t dim, datasets::Element element,
                                              datasets::Role role) {
  datasets::WriteOptions options;
  options.dim = dim;
  options.element = element;
  options.role = role;
  return datasets::open_writer(spec, options);
}

/// nq x k matrices: ids, distances, or both in files of their own.
class MatrixSink final : public ResultSink {
 public:
  MatrixSink(const std::optional<Destination>& ids, const std::optional<Destination>& distances, std::size_t k) {
    together_ = ids && distances && !ids->stream() && !distances->stream();
    if (ids) {
      const bool narrow = destination_element(*ids, datasets::Element::i64) == datasets::Element::i32;
      ids_ = open_matrix(spec(*ids), k, narrow ? datasets::Element::i32 : datasets::Element::i64,
                         datasets::Role::neighbors);
      ids_first_ = ids->stream();
    }
    if (distances) {
      distances_ = open_matrix(spec(*distances), k, datasets::Element::f32, datasets::Role::distances);
    }
  }

  void write(const ResultRows& rows) override {
    if (ids_) ids_->write_ids(rows.ids.data(), rows.nq);
    if (distances_) distances_->write(rows.distances.data(), rows.nq);
  }

  void finish() override {
    // A pipe first: when it breaks, the file beside it must not appear.
    if (ids_ && ids_first_) ids_->finish();
    if (distances_) distances_->finish();
    if (ids_ && !ids_first_) ids_->finish();
    if (together_) staged_.publish();
  }

 private:
  std::string spec(const Destination& destination) {
    if (!together_) return destination.spec;
    std::string staged = destination.spec;
    return staged.replace(staged.find(destination.path), destination.path.size(), staged_.stage(destination.path));
  }

  StagedFiles staged_;
  std::unique_ptr<datasets::Writer> ids_, distances_;
  bool together_ = false;
  bool ids_first_ = false;
};

/// big-ann ground truth: ids and distances in one file.
class GroundTruthSink final : public ResultSink {
 public:
  GroundTruthSink(const Destination& destination, std::size_t k)
      : writer_(open_matrix(destination.spec, k, datasets::Element::i32, datasets::Role::neighbors)) {}
  void write(const ResultRows& rows) override {
    writer_->write_ids(rows.ids.data(), rows.nq);
    writer_->write(rows.distances.data(), rows.nq);
  }
  void finish() override { writer_->finish(); }

 private:
  std::unique_ptr<datasets::Writer> writer_;
};

}  // namespace

std::unique_ptr<ResultSink> make_matrix_sink(const std::optional<Destination>& ids,
                                             const std::optional<Destination>& distances, std::size_t k) {
  return std::make_unique<MatrixSink>(ids, distances, k);
}

std::unique_ptr<ResultSink> make_ground_truth_sink(const Destination& destination, std::size_t k) {
  return std::make_unique<GroundTruthSink>(destination, k);
}

}  // namespace ivf::cli

#pragma once
/// \file
/// Results in an HDF5 file: `neighbors` and `distances`, as ann-benchmarks names them, or `lims`, `ids` and
/// `distances`.

#include <memory>
#include <optional>
#include <vector>

#include "ivf/datasets/datasets.hpp"
#include "results.h"

namespace ivf::cli {

class Hdf5Results final : public ResultSink {
 public:
  Hdf5Results(const std::string& path, const ResultShape& shape);

  /// A data set of vectors beside the results (`train`, `test`). Lives as long as the file.
  datasets::Writer& vectors(const std::string& name, std::size_t dim, datasets::Element element);
  void write(const ResultRows& rows) override;
  void finish() override;

 private:
  void write_lims(const ResultRows& rows);
  const float* distances_of(const ResultRows& rows);

  ResultShape shape_;
  std::unique_ptr<datasets::Hdf5File> file_;
  datasets::Writer* lims_ = nullptr;
  datasets::Writer* ids_ = nullptr;
  datasets::Writer* distances_ = nullptr;
  std::uint64_t written_ = 0;
  std::vector<float> converted_;
};

}  // namespace ivf::cli

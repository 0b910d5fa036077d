#pragma once
/// \file
/// The terms of ann-benchmarks, and results in its layout.

#include <map>
#include <string>
#include <vector>

#include "bench/record.h"
#include "ivf/datasets/datasets.hpp"

namespace ivf::cli {

/// The values of its attribute `distance`.
const char* ann_benchmarks_name(Metric metric) noexcept;

/// What it calls the distance of a canonical value. Its tools compare these numbers with their own.
float ann_benchmarks_distance(Metric metric, float value) noexcept;

/// Result files for its plot.py and data_export.py, kept until all measurements are made.
class AnnBenchmarksFiles {
 public:
  /// `directory` is its folder `results`. Refuses data that are none of its data sets.
  AnnBenchmarksFiles(std::string directory, const bench::RunInfo& run, bool force);

  void add(const bench::RunInfo& run, const bench::Measured& measured);
  /// Writes them. Returns how many.
  std::size_t write() const;

 private:
  std::string directory_, dataset_;
  bool force_;
  std::map<std::string, datasets::AnnBenchmarksResult> results_;  ///< By path.
};

}  // namespace ivf::cli

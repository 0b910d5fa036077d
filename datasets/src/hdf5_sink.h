#pragma once
/// \file
/// The library's side of writing an HDF5 file: what may crash when an existing file that is added to is damaged.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "hdf5_library.h"
#include "ivf/datasets/datasets.hpp"

namespace ivf::datasets {

/// A file under a temporary name, and the data sets that grow in it. Rows are bytes, as they will be stored.
class Hdf5Sink {
 public:
  /// `file` is what messages call it, `temporary` where it lies. With `update` it is there already.
  Hdf5Sink(std::string file, const std::string& temporary, bool update);
  Hdf5Sink(const Hdf5Sink&) = delete;
  Hdf5Sink& operator=(const Hdf5Sink&) = delete;
  ~Hdf5Sink();

  void attribute(const std::string& name, const std::string& value);
  /// Starts a data set, in the place of one of the same name. They are numbered from 0.
  void dataset(const std::string& name, std::size_t dim, Element element, unsigned deflate);
  void put(std::size_t dataset, const std::byte* rows, std::size_t count);
  /// Writes what is pending and closes the file.
  void finish();

 private:
  class Dataset;

  std::string name_;
  Hdf5Id file_;
  std::vector<std::unique_ptr<Dataset>> datasets_;
};

}  // namespace ivf::datasets

#pragma once
/// \file
/// HDF5 files made with the library itself, as other programs make them.

#ifndef H5_USE_110_API
#define H5_USE_110_API
#endif
#include <hdf5.h>

#include <functional>
#include <string>
#include <vector>

namespace ivf::datasets::test {

/// How a data set is stored.
struct Hdf5Storage {
  hid_t type = H5T_IEEE_F32LE;
  std::vector<hsize_t> chunk;             ///< None: contiguous.
  std::function<void(hid_t)> properties;  ///< Anything else, given the creation properties.
};

/// A new file; the test fills it through the methods and it is closed at the end of the scope.
class Hdf5Sample {
 public:
  explicit Hdf5Sample(const std::string& path);
  ~Hdf5Sample();
  Hdf5Sample(const Hdf5Sample&) = delete;
  Hdf5Sample& operator=(const Hdf5Sample&) = delete;

  hid_t id() const { return file_; }
  void group(const std::string& name);
  /// A data set without values (they read as zeros).
  void create_empty(const std::string& name, const std::vector<hsize_t>& shape, const Hdf5Storage& storage = {});
  /// A data set of the given values, converted by the library.
  void create(const std::string& name, const std::vector<hsize_t>& shape, const std::vector<double>& values,
              const Hdf5Storage& storage = {});
  void text_attribute(const std::string& name, const std::string& value, bool variable_length);

 private:
  hid_t file_;
};

}  // namespace ivf::datasets::test

// Result files of ann-benchmarks, read back with the HDF5 library: its tools rely on these names, types and shapes.

#ifndef H5_USE_110_API
#define H5_USE_110_API
#endif
#include <hdf5.h>

#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "ivf/datasets/datasets.hpp"
#include "ivf/error.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

namespace {

using ivf::datasets::AnnBenchmarksResult;

AnnBenchmarksResult sample() {
  AnnBenchmarksResult result;
  result.algorithm = "ivf";
  result.name = "ivf(nprobe=2)";
  result.dataset = "small-2-euclidean";
  result.distance = "euclidean";
  result.batch_mode = true;
  result.count = 2;
  result.run_count = 3;
  result.best_search_time = 0.25;
  result.build_time = 1.5;
  result.index_size = 64;
  result.candidates = 1.5;
  result.dist_comps = 120;
  result.times = {0.25f, 0.5f};
  result.neighbors = {7, 3, 9, -1};
  result.distances = {0.5f, 1, 2, std::numeric_limits<float>::infinity()};
  return result;
}

class File {
 public:
  explicit File(const std::string& path) : id_(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT)) { REQUIRE(id_ >= 0); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { H5Fclose(id_); }

  H5T_class_t attribute_class(const char* name) const {
    const hid_t attribute = H5Aopen(id_, name, H5P_DEFAULT);
    REQUIRE(attribute >= 0);
    const hid_t type = H5Aget_type(attribute);
    const H5T_class_t result = H5Tget_class(type);
    H5Tclose(type);
    H5Aclose(attribute);
    return result;
  }

  double number(const char* name) const {
    double value = 0;
    const hid_t attribute = H5Aopen(id_, name, H5P_DEFAULT);
    REQUIRE(H5Aread(attribute, H5T_NATIVE_DOUBLE, &value) >= 0);
    H5Aclose(attribute);
    return value;
  }

  int flag(const char* name) const {
    signed char value = -1;
    const hid_t attribute = H5Aopen(id_, name, H5P_DEFAULT);
    const hid_t type = H5Aget_type(attribute);
    REQUIRE(H5Aread(attribute, type, &value) >= 0);
    H5Tclose(type);
    H5Aclose(attribute);
    return value;
  }

  std::vector<hsize_t> shape(const char* name) const {
    const hid_t dataset = H5Dopen2(id_, name, H5P_DEFAULT);
    REQUIRE(dataset >= 0);
    const hid_t space = H5Dget_space(dataset);
    std::vector<hsize_t> result(static_cast<std::size_t>(H5Sget_simple_extent_ndims(space)));
    H5Sget_simple_extent_dims(space, result.data(), nullptr);
    H5Sclose(space);
    H5Dclose(dataset);
    return result;
  }

  std::vector<float> values(const char* name, std::size_t count) const {
    std::vector<float> result(count);
    const hid_t dataset = H5Dopen2(id_, name, H5P_DEFAULT);
    REQUIRE(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, result.data()) >= 0);
    H5Dclose(dataset);
    return result;
  }

 private:
  hid_t id_;
};

}  // namespace

TEST_CASE("a result for ann-benchmarks has its names, types and shapes") {
  const ivf::support::TemporaryDirectory directory;
  const std::string path = directory.file("result.hdf5");
  ivf::datasets::write_ann_benchmarks(path, sample());
  const File file(path);
  for (const char* name : {"algo", "name", "dataset", "distance"}) CHECK(file.attribute_class(name) == H5T_STRING);
  // What h5py makes of Python's bool, and reads as one.
  CHECK(file.attribute_class("batch_mode") == H5T_ENUM);
  CHECK(file.flag("batch_mode") == 1);
  CHECK(file.flag("expect_extra") == 0);
  CHECK(file.attribute_class("count") == H5T_INTEGER);
  CHECK(file.number("count") == 2);
  CHECK(file.number("run_count") == 3);
  CHECK(file.number("best_search_time") == 0.25);
  CHECK(file.number("build_time") == 1.5);
  CHECK(file.number("index_size") == 64);
  CHECK(file.number("candidates") == 1.5);
  CHECK(file.number("dist_comps") == 120);
  CHECK(file.shape("times") == std::vector<hsize_t>{2});
  CHECK(file.shape("neighbors") == std::vector<hsize_t>{2, 2});
  CHECK(file.shape("distances") == std::vector<hsize_t>{2, 2});
  CHECK(file.values("times", 2) == std::vector<float>{0.25f, 0.5f});
  CHECK(file.values("neighbors", 4) == std::vector<float>{7, 3, 9, -1});
  CHECK(file.values("distances", 4) == sample().distances);
}

TEST_CASE("a result for ann-benchmarks appears whole or not at all") {
  const ivf::support::TemporaryDirectory directory;
  CHECK_THROWS_AS(ivf::datasets::write_ann_benchmarks(directory.file("missing/result.hdf5"), sample()), ivf::Error);
  CHECK(std::filesystem::is_empty(directory.path()));
}

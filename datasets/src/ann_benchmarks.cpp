// Result files of ann-benchmarks, with the types that h5py gives its attributes and data sets.

#include <array>

#include "errors.h"
#include "hdf5_library.h"
#include "ivf/format/output_file.hpp"

namespace ivf::datasets {
namespace {

class ResultFile {
 public:
  explicit ResultFile(const std::string& path)
      : output_(path), file_(H5Fcreate(output_.temporary_path().c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) {
    if (!file_) throw failed("{}: cannot be created: {}", path, hdf5_reason());
  }

  void attribute(const char* name, const std::string& value) {
    const Hdf5Id type(H5Tcopy(H5T_C_S1));
    H5Tset_size(type.get(), H5T_VARIABLE);
    H5Tset_cset(type.get(), H5T_CSET_UTF8);
    const char* text = value.c_str();
    put(name, type.get(), type.get(), &text);
  }

  void attribute(const char* name, double value) { put(name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value); }
  void attribute(const char* name, std::uint64_t value) { put(name, H5T_STD_I64LE, H5T_NATIVE_UINT64, &value); }

  /// numpy's bool: an enumeration of two.
  void attribute(const char* name, bool value) {
    const Hdf5Id type(H5Tenum_create(H5T_STD_I8LE));
    for (const std::int8_t number : {std::int8_t{0}, std::int8_t{1}}) {
      H5Tenum_insert(type.get(), number == 0 ? "FALSE" : "TRUE", &number);
    }
    const std::int8_t number = value ? 1 : 0;
    put(name, type.get(), type.get(), &number);
  }

  template <std::size_t N>
  void dataset(const char* name, const std::array<hsize_t, N>& shape, hid_t stored, hid_t given, const void* values) {
    const Hdf5Id plist(H5Pcreate(H5P_DATASET_CREATE));
    H5Pset_obj_track_times(plist.get(), false);  // The same result gives the same file.
    const Hdf5Id space(H5Screate_simple(static_cast<int>(N), shape.data(), nullptr));
    const Hdf5Id id(H5Dcreate2(file_.get(), name, stored, space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT));
    if (!id || H5Dwrite(id.get(), given, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
      throw failed("{}:{}: cannot be written: {}", output_.path(), name, hdf5_reason());
    }
  }

  void finish() {
    if (!file_.reset()) throw failed("{}: write error: {}", output_.path(), hdf5_reason());
    output_.commit();
  }

 private:
  void put(const char* name, hid_t stored, hid_t given, const void* value) {
    const Hdf5Id space(H5Screate(H5S_SCALAR));
    const Hdf5Id id(H5Acreate2(file_.get(), name, stored, space.get(), H5P_DEFAULT, H5P_DEFAULT));
    if (!id || H5Awrite(id.get(), given, value) < 0) {
      throw failed("{}: attribute '{}' cannot be written: {}", output_.path(), name, hdf5_reason());
    }
  }

  format::OutputFile output_;
  Hdf5Id file_;
};

}  // namespace

void write_ann_benchmarks(const std::string& path, const AnnBenchmarksResult& result) {
  const Hdf5Guard guard;
  ResultFile file(path);
  file.attribute("algo", result.algorithm);
  file.attribute("name", result.name);
  file.attribute("dataset", result.dataset);
  file.attribute("distance", result.distance);
  file.attribute("batch_mode", result.batch_mode);
  file.attribute("expect_extra", false);
  file.attribute("count", std::uint64_t{result.count});
  file.attribute("run_count", result.run_count);
  file.attribute("best_search_time", result.best_search_time);
  file.attribute("build_time", result.build_time);
  file.attribute("index_size", result.index_size);
  file.attribute("candidates", result.candidates);
  if (result.dist_comps) file.attribute("dist_comps", *result.dist_comps);
  const hsize_t queries = result.times.size();
  file.dataset("times", std::array<hsize_t, 1>{queries}, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, result.times.data());
  const std::array<hsize_t, 2> shape{queries, result.count};
  file.dataset("neighbors", shape, H5T_STD_I32LE, H5T_NATIVE_INT32, result.neighbors.data());
  file.dataset("distances", shape, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, result.distances.data());
  file.finish();
}

}  // namespace ivf::datasets

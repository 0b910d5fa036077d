#include "hdf5_fixture.h"

#include "support/catch.hpp"

/// Asked by LeakSanitizer. The library forgets some of its own memory when it gives up on a damaged file.
extern "C" const char* __lsan_default_suppressions();
const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace ivf::datasets::test {

Hdf5Sample::Hdf5Sample(const std::string& path)
    : file_(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) {
  REQUIRE(file_ >= 0);
}

Hdf5Sample::~Hdf5Sample() { H5Fclose(file_); }

void Hdf5Sample::group(const std::string& name) {
  H5Gclose(H5Gcreate2(file_, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

void Hdf5Sample::create_empty(const std::string& name, const std::vector<hsize_t>& shape, const Hdf5Storage& storage) {
  create(name, shape, {}, storage);
}

void Hdf5Sample::create(const std::string& name, const std::vector<hsize_t>& shape, const std::vector<double>& values,
                        const Hdf5Storage& storage) {
  const hid_t space =
      shape.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
  const hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
  if (!storage.chunk.empty()) H5Pset_chunk(plist, static_cast<int>(storage.chunk.size()), storage.chunk.data());
  if (storage.properties) storage.properties(plist);
  const hid_t id = H5Dcreate2(file_, name.c_str(), storage.type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
  REQUIRE(id >= 0);
  if (!values.empty()) {
    REQUIRE(H5Dwrite(id, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
  }
  H5Dclose(id);
  H5Pclose(plist);
  H5Sclose(space);
}

void Hdf5Sample::text_attribute(const std::string& name, const std::string& value, bool variable_length) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, variable_length ? H5T_VARIABLE : value.size());
  const hid_t space = H5Screate(H5S_SCALAR);
  const hid_t id = H5Acreate2(file_, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT);
  const char* text = value.c_str();
  REQUIRE(H5Awrite(id, type, variable_length ? static_cast<const void*>(&text) : text) >= 0);
  H5Aclose(id);
  H5Sclose(space);
  H5Tclose(type);
}

}  // namespace ivf::datasets::test

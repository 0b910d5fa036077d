#include <fmt/format.h>

#include "hdf5_library.h"

namespace ivf::datasets {

std::string hdf5_version() {
  const Hdf5Guard guard;
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

}  // namespace ivf::datasets

#pragma once
/// \file
/// Versions of the libraries that the container is built on, as they are at run time.

#include <string>

namespace ivf::format {

std::string zstd_version();
std::string xxhash_version();

}  // namespace ivf::format

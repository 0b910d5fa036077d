#include "ivf/format/versions.hpp"

#include <fmt/format.h>
#include <xxhash.h>
#include <zstd.h>

namespace ivf::format {

std::string zstd_version() { return ZSTD_versionString(); }

std::string xxhash_version() {
  const unsigned number = XXH_versionNumber();  // major * 10000 + minor * 100 + release
  return fmt::format("{}.{}.{}", number / 10'000, number / 100 % 100, number % 100);
}

}  // namespace ivf::format

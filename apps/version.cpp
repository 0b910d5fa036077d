#include "version.h"

#include "ivf_build_version.h"

namespace ivf::cli {

const char* version() noexcept { return IVF_BUILD_VERSION; }
const char* commit() noexcept { return IVF_BUILD_COMMIT; }
const char* compiler() noexcept { return IVF_BUILD_COMPILER; }

}  // namespace ivf::cli

#pragma once

namespace ivf::cli {

const char* version() noexcept;   ///< "0.1.0"
const char* commit() noexcept;    ///< Short git commit, "+" behind it when the tree was changed; "unknown" without git.
const char* compiler() noexcept;  ///< "GNU 12.2.0"

}  // namespace ivf::cli

#pragma once
/// \file
/// RunOptions with the defaults filled in.

#include <cstdint>

#include "ivf/index.hpp"

namespace ivf::detail {

/// What an operation may use.
struct Resources {
  unsigned threads = 1;          ///< At least 1.
  std::uint64_t max_memory = 0;  ///< Bytes of workspace.

  /// Throws Error(misuse) when more threads are asked for than any machine has.
  static Resources of(const RunOptions& options);
};

}  // namespace ivf::detail

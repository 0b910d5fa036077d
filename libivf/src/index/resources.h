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

  static Resources of(const RunOptions& options) {
    constexpr std::uint64_t default_memory = std::uint64_t{1} << 30;
    return {options.threads == 0 ? available_threads() : options.threads,
            options.max_memory == 0 ? default_memory : options.max_memory};
  }
};

}  // namespace ivf::detail

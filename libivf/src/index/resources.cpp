#include "index/resources.h"

#include <fmt/format.h>

namespace ivf::detail {

Resources Resources::of(const RunOptions& options) {
  constexpr std::uint64_t default_memory = std::uint64_t{1} << 30;
  constexpr unsigned most_threads = 4096;
  if (options.threads > most_threads) {
    throw Error(ErrorKind::misuse, fmt::format("expected at most {} threads, found {}", most_threads, options.threads));
  }
  return {options.threads == 0 ? available_threads() : options.threads,
          options.max_memory == 0 ? default_memory : options.max_memory};
}

}  // namespace ivf::detail

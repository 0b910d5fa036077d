// The names of the dispatcher's levels, for whoever describes a machine.

#include "backends/cpu/levels.h"
#include "ivf/index.hpp"

namespace ivf {

std::vector<std::string> isa_levels() {
  std::vector<std::string> names;
  for (const detail::cpu::Kernels& kernels : detail::cpu::levels()) names.emplace_back(kernels.level);
  return names;
}

}  // namespace ivf

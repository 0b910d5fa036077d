#pragma once
/// \file
/// The processor as Linux describes it.

#include <nlohmann/json.hpp>

namespace ivf::bench {

/// Model, cores, caches, clock and flags.
nlohmann::ordered_json cpu_info();

/// The levels of instructions that ivf has found and would use.
nlohmann::ordered_json isa_info();

}  // namespace ivf::bench

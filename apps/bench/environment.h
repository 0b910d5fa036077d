#pragma once
/// \file
/// Everything that could change a result or a timing, as far as it can be read: docs/environment.schema.json.

#include <string>

#include <nlohmann/json.hpp>

namespace ivf::bench {

inline constexpr int environment_version = 1;

/// What only the program itself knows.
struct ProgramInfo {
  std::string version, commit, compiler;
};

/// Never throws for what cannot be read: such keys are null. `torch_plugin` is that of Placement.
nlohmann::ordered_json environment(const ProgramInfo& program, const std::string& torch_plugin);

}  // namespace ivf::bench

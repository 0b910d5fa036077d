#pragma once
/// \file
/// The one JSON object that a command prints with --json.

#include <nlohmann/json.hpp>

#include "ivf/search.hpp"
#include "options.h"

namespace ivf::cli {

using Json = nlohmann::ordered_json;

void print_json(const Json& object);

/// Names of modes as records use them.
const char* mode_name(SearchMode mode) noexcept;

}  // namespace ivf::cli

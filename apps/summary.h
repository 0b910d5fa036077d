#pragma once
/// \file
/// The one JSON object that a command prints with --json.

#include <string>

#include <nlohmann/json.hpp>

#include "ivf/search.hpp"
#include "options.h"

namespace ivf::cli {

using Json = nlohmann::ordered_json;

/// One line. Bytes of a file name that are no UTF-8 are replaced, so that a summary can always be printed.
std::string to_line(const Json& object);
void print_json(const Json& object);

/// Names of modes as records use them.
const char* mode_name(SearchMode mode) noexcept;

}  // namespace ivf::cli

#pragma once
/// \file
/// The one JSON object that a command prints with --json.

#include <string>

#include <nlohmann/json.hpp>

#include "bench/names.h"
#include "options.h"

namespace ivf::cli {

using Json = nlohmann::ordered_json;

/// One line. Bytes of a file name that are no UTF-8 are replaced, so that a summary can always be printed.
std::string to_line(const Json& object);
void print_json(const Json& object);

using bench::mode_name;

}  // namespace ivf::cli

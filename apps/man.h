#pragma once
/// \file
/// Manual pages in roff.

#include <string>

#include "definitions.h"

namespace ivf::cli {

/// The page of the program, ivf.1.
std::string program_page(const ProgramDefinition& definitions);
/// The page of one of its commands, ivf-COMMAND.1.
std::string command_page(const ProgramDefinition& definitions, const CommandDefinition& command);

}  // namespace ivf::cli

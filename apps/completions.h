#pragma once
/// \file
/// Completion scripts for shells.

#include <string>
#include <string_view>
#include <vector>

#include "definitions.h"

namespace ivf::cli {

std::string bash_completions(const ProgramDefinition& definitions);
std::string zsh_completions(const ProgramDefinition& definitions);
std::string fish_completions(const ProgramDefinition& definitions);

/// The first line of such a script, behind the shell's comment sign.
std::string completions_title(std::string_view shell);

/// Every text with `separator` between two.
std::string joined(const std::vector<std::string>& texts, std::string_view separator);

/// A backslash in front of every character of `before`.
std::string with_backslashes(std::string_view text, std::string_view before);

/// The program's own options that take a value, which is the word behind them: a command is looked for after it.
std::vector<std::string> program_options_with_value(const ProgramDefinition& definitions);

}  // namespace ivf::cli

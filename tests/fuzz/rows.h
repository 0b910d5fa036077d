#pragma once
/// \file
/// What holds for every reader of rows, checked on one input.

#include <cstdint>
#include <string>

#include "fuzz.h"

namespace ivf::fuzz {

/// Reads `format`:PATH from a file in memory: at once and row by row, from the start and from a later row, as vectors
/// and as ids, and where it fits through a pipe. All that succeed must agree.
void check_reader(const std::string& format, const std::string& suffix, Choices& input);

/// Only reads it, once.
void check_rows(const std::string& format, std::string_view bytes);

}  // namespace ivf::fuzz

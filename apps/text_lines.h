#pragma once
/// \file
/// Reading files of lines within bounded memory.

#include <cstdint>
#include <istream>
#include <string>

namespace ivf::cli {

/// Reads the next line of file `name`, which is the one with this number, from 1. False at the end. A line may take 64
/// MiB, or half of `memory` where that is less: while it is parsed, copies of its words may take five times as much.
/// Throws Error(corrupt), or Error(misuse) where more memory would do, for a longer one; Error(failed) when the file
/// cannot be read.
bool read_bounded_line(std::istream& in, std::string& line, const std::string& name, std::uint64_t number,
                       std::uint64_t memory);

}  // namespace ivf::cli

#pragma once
/// \file
/// Adding lines to a file that several processes add to.

#include <string>
#include <string_view>

namespace ivf::bench {

/// Throws Error(failed) when lines could not be appended to `path`; creates nothing. Called before long work.
void check_appendable(const std::string& path);

/// Appends `lines` (each ending in a newline) and makes them durable. Other processes that append find none of them or
/// all, and a failure (a full disk) takes back what was written, and the file if it is new. A loss of power may leave a
/// part of them: a last line that is unfinished is ended by the next append, so that no two become one. Throws
/// Error(failed) naming the path.
void append_lines(const std::string& path, std::string_view lines);

}  // namespace ivf::bench

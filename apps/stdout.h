#pragma once
/// \file
/// Standard output, with every error noticed: a full disk behind a redirection must not look like success.

#include <string>
#include <string_view>

#include "console.h"

namespace ivf::cli {

/// Buffered writes to descriptor 1. Nothing is written by the destructor: an error there could not be reported.
class Stdout {
 public:
  void write(std::string_view text);
  /// Throws Error(failed) with the system's reason.
  void flush();

 private:
  std::string buffer_;
};

/// Closes standard output. Some file systems report only then that the data did not fit. Throws Error(failed).
void close_stdout();

/// Prints one line (a summary) to stdout at once.
void print_line(std::string_view text);

bool stdout_is_terminal() noexcept;

}  // namespace ivf::cli

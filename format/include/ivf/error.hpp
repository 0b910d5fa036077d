#pragma once
/// \file
/// The one exception type that the project throws.

#include <stdexcept>
#include <string>

namespace ivf {

/// What went wrong, in the terms of the command line's exit codes.
enum class ErrorKind {
  failed = 1,   ///< The operation could not be carried out (I/O error, out of memory, interrupted).
  misuse = 2,   ///< The caller asked for something that makes no sense (bad parameter, wrong dimension).
  corrupt = 3,  ///< Data on disk are damaged, truncated, of a newer version, or not what they claim to be.
};

/// The exception type of every library of the project.
///
/// The message is one line and says what was expected, what was found, where, and what to do about it.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace ivf

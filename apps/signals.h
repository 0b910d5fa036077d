#pragma once
/// \file
/// SIGINT, SIGTERM, SIGHUP and SIGPIPE turned into exceptions, so that destructors remove what is unfinished.

#include <exception>

namespace ivf::cli {

/// Thrown where work stops because of a signal. Not an ivf::Error: the outcome is a signal's, not an exit code.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted"; }
};

/// Makes sure that descriptors 0, 1 and 2 are open: otherwise the next file opened would become stdout or stderr.
void ensure_standard_streams();

/// A signal that the parent has set to be ignored (nohup, background jobs) stays ignored.
void install_signal_handlers();

/// The first of SIGINT, SIGTERM, SIGHUP that arrived, or 0.
int pending_signal() noexcept;

/// Whether a write met a pipe that nobody reads any more.
bool pipe_closed() noexcept;

void throw_if_interrupted();

/// Called when what was asked for is done and durable: a signal that came too late to stop it is forgotten, so that
/// nobody is told that nothing happened.
void forget_signals() noexcept;

/// "SIGINT", ...
const char* signal_name(int signal) noexcept;

/// Ends the process as the signal itself would have done: what shells need to see to stop a loop or report 128 + n.
[[noreturn]] void die_by_signal(int signal);

}  // namespace ivf::cli

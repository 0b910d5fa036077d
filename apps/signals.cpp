#include "signals.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

namespace ivf::cli {
namespace {

// Signal handlers reach nothing but static storage.
volatile std::sig_atomic_t first_signal = 0;
volatile std::sig_atomic_t broken_pipe = 0;
int null_descriptor = -1;

void on_stop(int signal) {
  if (first_signal == 0) {
    first_signal = signal;
    // A read that waits on a pipe would otherwise be retried and wait on: let it see the end of its input instead.
    if (null_descriptor >= 0) dup2(null_descriptor, STDIN_FILENO);
    return;
  }
  // Asked twice: stop at once.
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void on_pipe(int) { broken_pipe = 1; }

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) return;
  action = {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

}  // namespace

void ensure_standard_streams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) != -1) continue;
    // The wrong direction on purpose: reading or writing a stream that was closed must fail, not vanish.
    if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) std::abort();
  }
}

void install_signal_handlers() {
  null_descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
  handle(SIGINT, on_stop);
  handle(SIGTERM, on_stop);
  handle(SIGHUP, on_stop);
  handle(SIGPIPE, on_pipe);
}

int pending_signal() noexcept { return first_signal; }

bool pipe_closed() noexcept { return broken_pipe != 0; }

void throw_if_interrupted() {
  if (first_signal != 0) throw Interrupted();
}

void forget_signals() noexcept { first_signal = 0; }

const char* signal_name(int signal) noexcept {
  switch (signal) {
    case SIGINT:
      return "SIGINT";
    case SIGTERM:
      return "SIGTERM";
    case SIGHUP:
      return "SIGHUP";
    default:
      return "a signal";
  }
}

void die_by_signal(int signal) {
  std::signal(signal, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  std::raise(signal);
  std::_Exit(128 + signal);
}

}  // namespace ivf::cli

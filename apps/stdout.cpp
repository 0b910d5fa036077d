#include "stdout.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "message.h"
#include "signals.h"

namespace ivf::cli {
namespace {
constexpr std::size_t buffer_bytes = std::size_t{1} << 16;
}

void Stdout::write(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() >= buffer_bytes) flush();
}

void Stdout::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) {
      // A reader that has stopped reading must not keep us here after a signal.
      throw_if_interrupted();
      continue;
    }
    if (n < 0) failed("cannot write to standard output: {}", std::strerror(errno));
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  buffer_.clear();
}

void close_stdout() {
  // A stream that was closed from the start is nobody's loss: whoever had something to print has been told.
  if (::close(STDOUT_FILENO) != 0 && errno != EBADF) {
    failed("cannot write to standard output: {}", std::strerror(errno));
  }
}

void print_line(std::string_view text) {
  Stdout out;
  out.write(text);
  out.write("\n");
  out.flush();
}

bool stdout_is_terminal() noexcept { return isatty(STDOUT_FILENO) == 1; }

}  // namespace ivf::cli

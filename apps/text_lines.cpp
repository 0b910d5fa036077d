#include "text_lines.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bench/json_lines.h"
#include "message.h"
#include "signals.h"

namespace ivf::cli {
namespace {

constexpr std::uint64_t longest_text_line = std::uint64_t{64} << 20;

}  // namespace

bool read_bounded_line(std::istream& in, std::string& line, const std::string& name, std::uint64_t number,
                       std::uint64_t memory) {
  const std::uint64_t longest = std::min(longest_text_line, memory / 2);
  throw_if_interrupted();
  switch (bench::read_line(in, line, static_cast<std::size_t>(longest))) {
    case bench::LineRead::line:
      return true;
    case bench::LineRead::end:
      break;
    case bench::LineRead::too_long:
      if (longest == longest_text_line)
        corrupt("{}: line {}: expected at most {}; found more", name, number, human_bytes(longest));
      misuse("{}: line {}: takes more than {}; raise --max-memory", name, number, human_bytes(longest));
  }
  // The end of a pipe after a signal is not the end of the file.
  throw_if_interrupted();
  if (in.bad()) failed("{}: cannot be read: {}", name, std::strerror(errno));
  return false;
}

}  // namespace ivf::cli

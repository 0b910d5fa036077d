#include "console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "message.h"
#include "signals.h"

namespace ivf::cli {
namespace {

void write_stderr(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // Nowhere left to complain.
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

std::size_t terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

std::string clock_time(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::max(0.0, seconds));
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

std::string short_count(std::uint64_t number) {
  const auto value = static_cast<double>(number);
  if (number < 10'000) return std::to_string(number);
  if (number < 1'000'000) return fmt::format("{:.1f}k", value / 1e3);
  if (number < 1'000'000'000) return fmt::format("{:.2f}M", value / 1e6);
  return fmt::format("{:.2f}G", value / 1e9);
}

bool capable_terminal() {
  const char* term = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && term && std::string_view(term) != "dumb";
}

}  // namespace

void Console::configure(const CommonOptions& options) {
  quiet_ = options.quiet;
  verbose_ = options.verbose && !options.quiet;
  bars_ = !options.quiet && !options.no_progress && capable_terminal();
  start_ = Clock::now();
}

void Console::line(std::string_view prefix, std::string_view text) {
  clear();
  std::string whole = fmt::format("{}{}\n", prefix, text);
  // One message, one line, whatever a file name holds.
  for (std::size_t i = 0; i + 1 < whole.size(); ++i) {
    if (static_cast<unsigned char>(whole[i]) < 0x20 || whole[i] == 0x7f) whole[i] = '?';
  }
  write_stderr(whole);
}

void Console::note(std::string_view text) {
  if (!quiet_) line("", text);
}

void Console::detail(std::string_view text) {
  if (verbose_) line("", text);
}

void Console::warn(std::string_view text) {
  if (!quiet_) line("ivf: warning: ", text);
}

void Console::error(std::string_view text) { line("ivf: error: ", text); }

void Console::clear() {
  if (!shown_) return;
  write_stderr("\r\x1b[K");
  shown_ = false;
}

void Console::progress(const char* phase, std::uint64_t done, std::uint64_t total) {
  throw_if_interrupted();
  if (!bars_) return;
  const auto now = Clock::now();
  if (phase_ != phase || done < last_done_) {
    // The first phase has lasted since the start: opening and reading may have taken their time.
    if (!phase_.empty()) start_ = now;
    phase_ = phase;
  }
  last_done_ = done;
  using namespace std::chrono_literals;
  if (now - start_ < 1s || now - drawn_ < 100ms) return;
  drawn_ = now;
  draw(phase, done, total, now);
}

void Console::draw(const char* phase, std::uint64_t done, std::uint64_t total, Clock::time_point now) {
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const std::size_t width = terminal_width();
  std::string text;
  if (total == 0) {
    text = fmt::format("{}  {}  {}", phase, short_count(done), clock_time(elapsed));
  } else {
    const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    const std::string left = share > 0 ? clock_time(elapsed / share - elapsed) : "?";
    const std::string tail =
        fmt::format(" {:3.0f}%  {}/{}  {} left", share * 100, short_count(done), short_count(total), left);
    const std::size_t taken = phase_.size() + tail.size() + 4;
    const std::size_t bar = width > taken + 10 ? std::min<std::size_t>(width - taken, 40) : 0;
    const auto full = static_cast<std::size_t>(share * static_cast<double>(bar));
    text = bar ? fmt::format("{} [{}{}]{}", phase, std::string(full, '#'), std::string(bar - full, '.'), tail)
               : fmt::format("{}{}", phase, tail);
  }
  // A line that wraps could not be taken back: cut it one short of the edge.
  if (text.size() >= width) text.resize(width > 0 ? width - 1 : 0);
  write_stderr("\r" + text + "\x1b[K");
  shown_ = true;
}

Progress Console::callback() {
  return [this](const char* phase, std::uint64_t done, std::uint64_t total) { progress(phase, done, total); };
}

Progress Console::interrupt_only() {
  return [](const char*, std::uint64_t, std::uint64_t) { throw_if_interrupted(); };
}

}  // namespace ivf::cli

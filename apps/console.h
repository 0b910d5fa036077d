#pragma once
/// \file
/// What goes to stderr: notes, warnings and progress.

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "ivf/search.hpp"
#include "options.h"

namespace ivf::cli {

class Console {
 public:
  /// Takes effect from here on; before it, only errors are shown.
  void configure(const CommonOptions& options);

  void note(std::string_view text);    ///< Unless -q.
  void detail(std::string_view text);  ///< With -v.
  void warn(std::string_view text);    ///< Unless -q.
  void error(std::string_view text);

  /// Shows how far the work is, on a terminal and once it has lasted a second. Throws Interrupted after a signal.
  /// `total` 0: unknown.
  void progress(const char* phase, std::uint64_t done, std::uint64_t total);
  /// Takes the progress bar off the screen.
  void clear();

  /// What an interruption leaves behind from here on, for its message. At first nothing is.
  void interruption_leaves(std::string text) { left_behind_ = std::move(text); }
  const std::string& left_behind() const { return left_behind_; }

  /// progress() as the callback that the library takes.
  Progress callback();
  /// A callback that only stops the work after a signal: for calls that are a small part of a longer, shown one.
  static Progress interrupt_only();

 private:
  using Clock = std::chrono::steady_clock;
  void line(std::string_view prefix, std::string_view text);
  void draw(const char* phase, std::uint64_t done, std::uint64_t total, Clock::time_point now);

  bool quiet_ = true;
  bool verbose_ = false;
  bool bars_ = false;
  bool shown_ = false;
  std::string phase_;
  std::string left_behind_ = "no file was written or changed: the same command can be run again";
  std::uint64_t last_done_ = 0;
  Clock::time_point start_{};  ///< Of the phase.
  Clock::time_point drawn_{};
};

/// Wall clock in milliseconds.
class Stopwatch {
 public:
  double milliseconds() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace ivf::cli

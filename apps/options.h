#pragma once
/// \file
/// The options of a subcommand: how they are declared, and those that all of them take.
///
/// The parser's own header takes seconds to compile; it is included in options.cpp, help.cpp and main.cpp alone.

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/names.h"
#include "ivf/search.hpp"
#include "values.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace ivf::cli {

struct CommonOptions {
  unsigned threads = 0;                     ///< 0: all that the process may use.
  std::optional<std::uint64_t> max_memory;  ///< Bytes.
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  bool no_progress = false;

  RunOptions run(Progress progress = {}) const;
  /// The cap that holds when none is given.
  static constexpr std::uint64_t default_memory = std::uint64_t{1} << 30;
  std::uint64_t memory() const { return max_memory.value_or(default_memory); }
};

/// --start and --count.
struct RowRange {
  std::uint64_t start = 0;
  std::optional<std::uint64_t> count;
};

/// Declares options to the parser. Given twice, the last one counts.
class OptionSet {
 public:
  /// What can still be said about an option that was declared.
  class Option {
   public:
    explicit Option(CLI::Option* option) : option_(option) {}
    /// The default that help shows.
    Option& shows(const char* value);
    Option& required();

   private:
    CLI::Option* option_;
  };

  explicit OptionSet(CLI::App& app) : app_(app) {}

  /// `examples` ends the help.
  void describe(const char* description, const char* examples);
  /// The heading that the options declared after it stand under.
  void group(const char* heading) { group_ = heading; }

  /// A positional argument, which must be given.
  void argument(const char* name, std::string& target, const char* text);
  void flag(const char* names, bool& target, const char* text);
  /// `read(option, value)` takes the text that was given, or throws Error(misuse).
  Option value(const char* names, const char* type, const char* text,
               std::function<void(std::string_view option, std::string_view value)> read);

  Option text(const char* names, std::string& target, const char* type, const char* help) {
    return value(names, type, help, [&target](std::string_view, std::string_view value) { target = value; });
  }
  /// `T` is std::uint64_t or an optional one.
  template <class T>
  Option count(const char* names, T& target, const char* type, const char* help, std::uint64_t min = 0,
               std::uint64_t max = INT64_MAX) {
    return value(names, type, help, [&target, min, max](std::string_view option, std::string_view value) {
      target = parse_count(option, value, min, max);
    });
  }
  Option number(const char* names, std::optional<double>& target, const char* type, const char* help, double min,
                double max) {
    return value(names, type, help, [&target, min, max](std::string_view option, std::string_view value) {
      target = parse_number(option, value, min, max);
    });
  }
  /// `T` is `V` or an optional one.
  template <class V, class T>
  Option choice(const char* names, T& target, const char* type, const char* help, const Choices<V>& choices) {
    return value(names, type, help, [&target, choices](std::string_view option, std::string_view value) {
      target = parse_choice(option, value, choices);
    });
  }

  /// Options that several subcommands share.
  void row_range(RowRange& range);
  void metric(std::optional<Metric>& metric);
  void force(bool& force);
  void seed(std::uint64_t& seed);
  void min_recall(std::optional<double>& recall);
  void common(CommonOptions& options);

 private:
  CLI::App& app_;
  const char* group_ = "Options";
};

using bench::metric_name;

}  // namespace ivf::cli

#pragma once
/// \file
/// Options that every subcommand takes, and how the values of options are read.

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "ivf/search.hpp"
#include "message.h"

namespace ivf::cli {

struct CommonOptions {
  std::string device = "cpu";
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

/// Adds the common options to a subcommand, or to the program (they may stand on either side of the subcommand's name).
void add_common_options(CLI::App& app, CommonOptions& options);

/// A whole number, optionally with k, M or G (powers of 1000). Throws Error(misuse) that names the option.
std::uint64_t parse_count(std::string_view option, std::string_view text, std::uint64_t min = 0,
                          std::uint64_t max = std::numeric_limits<std::uint64_t>::max());
/// Bytes, optionally with K, M, G or T (powers of 1024), also written KiB or KB.
std::uint64_t parse_bytes(std::string_view option, std::string_view text);
double parse_number(std::string_view option, std::string_view text, double min, double max);
/// Throws Error(misuse) for an unknown device, and for one that this build has no module for.
std::string parse_device(std::string_view option, std::string_view text);

template <class T>
using Choices = std::initializer_list<std::pair<std::string_view, T>>;

template <class T>
T parse_choice(std::string_view option, std::string_view text,
               const std::vector<std::pair<std::string_view, T>>& choices) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (name == text) return value;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  }
  misuse("{}: '{}' is not one of {}", option, text, names);
}

/// The name that messages call an option by: the long one where there is one.
std::string option_name(const std::string& names);

/// Adds an option whose text `parse(option, text)` turns into the value of `target`. Given twice, the last one counts.
template <class T, class Parse>
CLI::Option* add_value(CLI::App& app, const std::string& names, T& target, const char* type, const std::string& text,
                       Parse parse) {
  auto read = [&target, parse, name = option_name(names)](const std::string& value) { target = parse(name, value); };
  return app.add_option_function<std::string>(names, read, text)->type_name(type)->take_last();
}

template <class T>
CLI::Option* add_count(CLI::App& app, const std::string& names, T& target, const char* type, const std::string& text,
                       std::uint64_t min = 0, std::uint64_t max = std::numeric_limits<std::int64_t>::max()) {
  return add_value(app, names, target, type, text, [min, max](std::string_view option, std::string_view value) {
    return static_cast<std::uint64_t>(parse_count(option, value, min, max));
  });
}

template <class T, class V>
CLI::Option* add_choice(CLI::App& app, const std::string& names, T& target, const char* type, const std::string& text,
                        Choices<V> choices) {
  const std::vector<std::pair<std::string_view, V>> table(choices);
  return add_value(app, names, target, type, text, [table](std::string_view option, std::string_view value) {
    return parse_choice<V>(option, value, table);
  });
}

inline CLI::Option* add_text(CLI::App& app, const std::string& names, std::string& target, const char* type,
                             const std::string& text) {
  return add_value(app, names, target, type, text,
                   [](std::string_view, std::string_view value) { return std::string(value); });
}

/// A positional argument that must be given.
inline CLI::Option* add_argument(CLI::App& app, const std::string& name, std::string& target, const std::string& text) {
  return app
      .add_option_function<std::string>(
          name, [&target](const std::string& value) { target = value; }, text)
      ->type_name("")
      ->required();
}

/// --start and --count.
struct RowRange {
  std::uint64_t start = 0;
  std::optional<std::uint64_t> count;
};
void add_row_range(CLI::App& app, RowRange& range, const char* group);

/// --metric; empty: the data decide.
void add_metric(CLI::App& app, std::optional<Metric>& metric, const char* group);
const char* metric_name(Metric metric) noexcept;

void add_force(CLI::App& app, bool& force, const char* group);

}  // namespace ivf::cli

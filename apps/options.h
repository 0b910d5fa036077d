#pragma once
/// \file
/// The options of a subcommand: how they are declared, and those that all of them take.
///
/// The parser's own header takes seconds to compile; only what deals with the parser itself includes it.

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/names.h"
#include "ivf/index.hpp"
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

/// What an option's value may be, where it can be listed: shells complete it. The parser does not look at it.
struct KnownWords {
  std::vector<std::string> words;
  bool list = false;  ///< Several of them may be given, separated by commas.
};
using WordsOfOptions = std::map<const CLI::Option*, KnownWords>;

/// Declares options to the parser. Given twice, the last one counts.
class OptionSet {
 public:
  /// What can still be said about an option that was declared.
  class Option {
   public:
    Option(CLI::Option* option, WordsOfOptions& words) : option_(option), words_(&words) {}
    /// The default that help shows.
    Option& shows(const char* value);
    Option& required();
    /// Words that shells complete the value with; choice() says so by itself.
    Option& offers(std::vector<std::string> words);
    /// The same for a value that is a list.
    Option& offers_list(std::vector<std::string> words);

   private:
    CLI::Option* option_;
    WordsOfOptions* words_;
  };

  /// `words` must outlive the options, and collects what they offer.
  OptionSet(CLI::App& app, WordsOfOptions& words) : app_(app), words_(words) {}

  /// `examples` ends the help.
  void describe(const char* description, const char* examples);
  /// The heading that the options declared after it stand under.
  void group(const char* heading) { group_ = heading; }

  /// A positional argument, which must be given. Shells complete it with the names of files, unless it offers words.
  Option argument(const char* name, std::string& target, const char* text);
  /// One that may be left out.
  Option optional_argument(const char* name, std::string& target, const char* text);
  /// One or more words, which take all that follow.
  Option arguments(const char* name, std::vector<std::string>& target, const char* text);
  void flag(const char* names, bool& target, const char* text);
  /// `read(option, value)` takes the text that was given, or throws Error(misuse). `type` stands for the value in help;
  /// shells complete the names of files where it speaks of a FILE, INDEX, DATA or PREFIX, and of folders where it
  /// speaks of a DIR.
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
    auto option = value(names, type, help, [&target, choices](std::string_view name, std::string_view text) {
      target = parse_choice(name, text, choices);
    });
    return option.offers(choice_names(choices));
  }

  /// Options that several subcommands share.
  void row_range(RowRange& range);
  void metric(std::optional<Metric>& metric);
  void force(bool& force);
  void seed(std::uint64_t& seed);
  void min_recall(std::optional<double>& recall);
  void results(std::string& out, std::string& out_distances);
  void training(std::optional<std::uint64_t>& train_n, std::optional<std::uint64_t>& iterations,
                std::optional<KMeansInit>& init);
  void common(CommonOptions& options);

 private:
  CLI::App& app_;
  WordsOfOptions& words_;
  const char* group_ = "Options";
};

using bench::metric_name;

}  // namespace ivf::cli

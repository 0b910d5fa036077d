#pragma once
/// \file
/// The command line as the parser knows it: the program's own options and every subcommand of the table.

#include <map>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "command.h"

namespace ivf::cli {

class Program {
 public:
  /// Options that all subcommands take are read into `options`.
  explicit Program(CommonOptions& options);

  CLI::App& parser() { return app_; }
  const WordsOfOptions& words() const { return words_; }
  /// The subcommand that was chosen, once the parser has parsed.
  Command& chosen();

 private:
  CLI::App app_;
  WordsOfOptions words_;
  std::map<const CLI::App*, std::unique_ptr<Command>> commands_;
};

/// What --version prints.
std::string version_text();

}  // namespace ivf::cli

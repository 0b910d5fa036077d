#pragma once
/// \file
/// A subcommand, and the table of all of them.

#include <memory>
#include <span>

#include "console.h"
#include "options.h"

namespace ivf::cli {

/// The program's exit codes (docs/cli.md). 0 to 3 follow ivf::ErrorKind.
enum ExitCode : int { exit_done = 0, exit_failed = 1, exit_misuse = 2, exit_corrupt = 3, exit_check_failed = 4 };

struct ExitCodeText {
  ExitCode code;
  const char* meaning;
};

/// Every exit code in a few words, as help and the manual pages list them.
std::span<const ExitCodeText> exit_codes();

/// What every subcommand is given.
struct Context {
  CommonOptions options;
  Console& console;
};

/// One subcommand. define() describes it to the parser, run() does the work and returns an exit code.
class Command {
 public:
  virtual ~Command() = default;
  virtual void define(OptionSet& options) = 0;
  virtual int run(Context& context) = 0;
};

struct CommandEntry {
  const char* name;
  const char* group;    ///< Heading in `ivf --help`.
  const char* summary;  ///< One line in `ivf --help`.
  std::unique_ptr<Command> (*make)();
};

/// All subcommands in the order of `ivf --help`.
std::span<const CommandEntry> command_table();

}  // namespace ivf::cli

// ivf man: the manual pages, made of what the parser knows.

#include "man.h"

#include <algorithm>

#include "command.h"
#include "help.h"
#include "message.h"
#include "stdout.h"

namespace ivf::cli {
namespace {

class Man final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Print a manual page in roff on stdout: that of a command, or, without COMMAND, that of the program. Pages "
        "are made of the same definitions as --help, and `cmake --install` puts them where `man ivf-search` finds "
        "them.",
        R"(Examples:
  ivf man search | man -l -
  ivf man > ivf.1
  for c in $(ivf man --list); do ivf man $c > ivf-$c.1; done
)");
    std::vector<std::string> names;
    for (const CommandEntry& item : command_table()) names.emplace_back(item.name);
    options.optional_argument("COMMAND", name_, "Command to describe").offers(std::move(names));
    options.group("Page options");
    options.flag("--list", list_, "Print the names of all commands instead, one a line");
  }

  int run(Context& context) override {
    if (context.options.json) misuse("--json: a manual page is roff; drop --json");
    if (list_ && !name_.empty()) misuse("--list and {} contradict each other: a list has all commands", name_);
    Stdout out;
    out.write(list_ ? list() : page());
    out.flush();
    return exit_done;
  }

 private:
  static std::string list() {
    std::string names;
    for (const CommandEntry& item : command_table()) names += fmt::format("{}\n", item.name);
    return names;
  }

  std::string page() const {
    const ProgramDefinition all = read_definitions();
    if (name_.empty()) return program_page(all);
    std::vector<std::string> names;
    for (const CommandDefinition& command : all.commands) {
      if (command.name == name_) return command_page(all, command);
      names.push_back(command.name);
    }
    const std::string guess = nearest(name_, names);
    if (!guess.empty()) misuse("unknown command '{}'; did you mean {}?", name_, guess);
    misuse("unknown command '{}'; `ivf man --list` prints all", name_);
  }

  std::string name_;
  bool list_ = false;
};

}  // namespace

std::unique_ptr<Command> make_man() { return std::make_unique<Man>(); }

}  // namespace ivf::cli

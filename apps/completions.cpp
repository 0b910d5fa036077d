// ivf completions: scripts for shells, made of what the parser knows.

#include "completions.h"

#include "command.h"
#include "message.h"
#include "stdout.h"
#include "version.h"

namespace ivf::cli {
namespace {

using Writer = std::string (*)(const ProgramDefinition&);

const Choices<Writer>& shells() {
  static const Choices<Writer> writers = {
      {"bash", bash_completions}, {"zsh", zsh_completions}, {"fish", fish_completions}};
  return writers;
}

class Completions final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Print a script that completes commands, options, their values and the names of files in a shell: bash, zsh "
        "or fish. It is made of the same definitions as --help, and `cmake --install` puts it where shells find it.",
        R"(Examples:
  source <(ivf completions bash)
  ivf completions zsh > ~/.zfunc/_ivf
  ivf completions fish > ~/.config/fish/completions/ivf.fish
)");
    options.argument("SHELL", shell_, "bash, zsh or fish").offers(choice_names(shells()));
  }

  int run(Context& context) override {
    if (context.options.json) misuse("--json: completions are a script; drop --json");
    const Writer write = parse_choice("SHELL", shell_, shells());
    Stdout out;
    out.write(write(read_definitions()));
    out.flush();
    return exit_done;
  }

 private:
  std::string shell_;
};

}  // namespace

std::string completions_title(std::string_view shell) {
  return fmt::format("Completions of ivf {0} for {1}, made by `ivf completions {1}`.", version(), shell);
}

std::string joined(const std::vector<std::string>& texts, std::string_view separator) {
  std::string out;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i != 0) out += separator;
    out += texts[i];
  }
  return out;
}

std::string with_backslashes(std::string_view text, std::string_view before) {
  std::string out;
  for (const char c : text) {
    if (before.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::vector<std::string> program_options_with_value(const ProgramDefinition& definitions) {
  std::vector<std::string> names;
  for (const OptionDefinition& option : definitions.program.options) {
    if (!option.flag) names.insert(names.end(), option.names.begin(), option.names.end());
  }
  return names;
}

std::unique_ptr<Command> make_completions() { return std::make_unique<Completions>(); }

}  // namespace ivf::cli

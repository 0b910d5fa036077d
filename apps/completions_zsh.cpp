#include "completions.h"
#include "message.h"

namespace ivf::cli {
namespace {

constexpr const char* zsh_functions =
    R"(
# Words, or names of files when none of them fits.
_ivf_words_or_files() {
  compadd -- "$@" || _files
}

_ivf() {
  local curcontext=$curcontext state line
  typeset -A opt_args
  _arguments -C -s -S $_ivf_program_options '1: :_ivf_commands' '*:: :->arguments'
  if [[ $state == arguments ]]; then
    local command=${words[1]}
    curcontext=${curcontext%:*}-$command:
    if (( $+functions[_ivf_command_$command] )); then _ivf_command_$command; fi
  fi
}
)";

/// Sourced, the script tells the shell about the function; found on $fpath, it is the function.
constexpr const char* last_lines =
    R"(
if [[ $funcstack[1] == _ivf ]]; then
  _ivf "$@"
else
  compdef _ivf ivf
fi
)";

/// Between single quotes.
std::string zsh_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

/// What _arguments does to complete a value: its message and its action.
std::string action(const ValueDefinition& value) {
  std::vector<std::string> words;
  for (const std::string& word : value.words) words.push_back(with_backslashes(word, "\\: ()"));
  const std::string out = fmt::format(":{}:", with_backslashes(value.type, "\\:"));
  const std::string list = joined(words, " ");
  switch (value.completion) {
    case Completion::none:
      return out;
    case Completion::words:
      return value.list ? fmt::format("{}_sequence compadd - {}", out, list) : fmt::format("{}({})", out, list);
    case Completion::files:
      return out + "_files";
    case Completion::words_and_files:
      return fmt::format("{} _ivf_words_or_files {}", out, list);
    case Completion::folders:
      return out + "_files -/";
  }
  return out;
}

std::string option_specs(const CommandDefinition& command) {
  std::string out;
  for (const OptionDefinition& option : command.options) {
    // Given twice, the last one counts; offering it once is enough.
    const std::string names = joined(option.names, " ");
    for (const std::string& name : option.names) {
      const bool long_name = name.starts_with("--");
      const char* value = option.flag ? "" : (long_name ? "=" : "+");
      const std::string text = with_backslashes(option.text, "\\[]:");
      const std::string spec = fmt::format("({}){}{}[{}]", names, name, value, text);
      out += fmt::format("    {}\n", zsh_quoted(option.flag ? spec : spec + action(option.value)));
    }
  }
  return out;
}

std::string argument_specs(const CommandDefinition& command) {
  std::string out;
  for (std::size_t i = 0; i < command.arguments.size(); ++i) {
    const ArgumentDefinition& argument = command.arguments[i];
    const std::string position = argument.repeated ? "*" : fmt::format("{}{}", i + 1, argument.required ? "" : ":");
    out += fmt::format("    {}\n", zsh_quoted(position + action(argument.value)));
  }
  return out;
}

}  // namespace

std::string zsh_completions(const ProgramDefinition& definitions) {
  std::string out = fmt::format("#compdef ivf\n# {}\n\n", completions_title("zsh"));
  std::string names;
  for (const CommandDefinition& command : definitions.commands) {
    names += fmt::format("    {}\n",
                         zsh_quoted(fmt::format("{}:{}", command.name, with_backslashes(command.summary, "\\:"))));
  }
  names += "    'help:Show help'\n";
  out += fmt::format("_ivf_commands() {{\n  local -a commands=(\n{}  )\n", names);
  out += "  _describe -t commands command commands\n}\n\n";
  out += fmt::format("typeset -ga _ivf_program_options=(\n{})\n", option_specs(definitions.program));
  for (const CommandDefinition& command : definitions.commands) {
    out += fmt::format("\n_ivf_command_{}() {{\n  local -a specs=(\n{}{}  )\n  _arguments -s -S $specs\n}}\n",
                       command.name, option_specs(command), argument_specs(command));
  }
  out += "\n_ivf_command_help() {\n  _arguments '1: :_ivf_commands'\n}\n";
  return out + zsh_functions + last_lines;
}

}  // namespace ivf::cli

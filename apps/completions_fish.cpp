#include "completions.h"
#include "message.h"

namespace ivf::cli {
namespace {

/// Between single quotes, where fish takes a backslash before a quote or another backslash for what it is.
std::string fish_quoted(std::string_view text) { return fmt::format("'{}'", with_backslashes(text, "'\\")); }

/// The line of a completion that is offered behind a command; an empty name: before any.
std::string line(std::string_view command, std::string_view rest) {
  const std::string condition = fmt::format("__ivf_command {}", command.empty() ? "''" : command);
  return fmt::format("complete -c ivf -n \"{}\" {}\n", condition, rest);
}

/// How many words of the command line are arguments cannot be told by fish itself.
std::string fish_functions(const std::vector<std::string>& options_with_value) {
  return fmt::format(R"(
# Whether the command line has the command $argv[1] so far; an empty one: none.
function __ivf_command
    set -l words (commandline -opc)
    set -l command ''
    set -l skip 0
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case {}
                set skip 1
            case '-*'
            case '*'
                set command $word
                break
        end
    end
    test "$command" = "$argv[1]"
end
)",
                     joined(options_with_value, " "));
}

/// What `complete` is told of a value.
std::string completion(const ValueDefinition& value) {
  const std::string words = joined(value.words, " ");
  switch (value.completion) {
    case Completion::none:
      return " -x";
    case Completion::words:
      if (value.list) {
        return fmt::format(" -x -a {}",
                           fish_quoted(fmt::format("(__fish_complete_list , 'string split \" \" \"{}\"')", words)));
      }
      return fmt::format(" -x -a {}", fish_quoted(words));
    case Completion::files:
      return " -r -F";
    case Completion::words_and_files:
      return fmt::format(" -r -F -a {}", fish_quoted(words));
    case Completion::folders:
      return " -x -a '(__fish_complete_directories)'";
  }
  return "";
}

std::string option_lines(const CommandDefinition& command) {
  std::string out;
  for (const OptionDefinition& option : command.options) {
    std::string names;
    for (const std::string& name : option.names) {
      const bool long_name = name.starts_with("--");
      names += fmt::format("{} {} ", long_name ? "-l" : "-s", name.substr(long_name ? 2 : 1));
    }
    out += line(command.name, fmt::format("{}-d {}{}", names, fish_quoted(option.text),
                                          option.flag ? std::string() : completion(option.value)));
  }
  return out;
}

std::string argument_lines(const CommandDefinition& command) {
  std::string out;
  bool files = false;
  for (const ArgumentDefinition& argument : command.arguments) {
    if (argument.value.completion == Completion::files) {
      files = true;
    } else if (argument.value.completion == Completion::words) {
      out += line(command.name, fmt::format("-a {}", fish_quoted(joined(argument.value.words, " "))));
    }
  }
  if (files) out += line(command.name, "-F");
  return out;
}

}  // namespace

std::string fish_completions(const ProgramDefinition& definitions) {
  std::string out = fmt::format("# {}\n", completions_title("fish"));
  out += fish_functions(program_options_with_value(definitions));
  out += "\ncomplete -c ivf -f\n\n";
  std::vector<std::string> names;
  for (const CommandDefinition& command : definitions.commands) {
    names.push_back(command.name);
    out += line("", fmt::format("-a {} -d {}", command.name, fish_quoted(command.summary)));
  }
  out += line("", "-a help -d 'Show help'");
  out += line("help", fmt::format("-a {}", fish_quoted(joined(names, " "))));
  out += option_lines(definitions.program);
  for (const CommandDefinition& command : definitions.commands) {
    out += '\n';
    out += option_lines(command) + argument_lines(command);
  }
  return out;
}

}  // namespace ivf::cli

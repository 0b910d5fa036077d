#include <map>

#include "completions.h"
#include "message.h"

namespace ivf::cli {
namespace {

constexpr const char* bash_functions =
    R"(
_ivf() {
  local kind=none words= list= command= pending= only_arguments= position=0
  local line=() i at=0 rest text part cur stem= value
  # The words as ivf will see them: bash cuts them at = and : as well.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    rest=${COMP_LINE:at}
    text=${rest#"${rest%%[![:space:]]*}"}
    ((at += ${#rest} - ${#text}))
    part=${COMP_WORDS[i]}
    if ((i == COMP_CWORD)); then
      part=
      ((COMP_POINT > at)) && part=${COMP_LINE:at:COMP_POINT-at}
    fi
    if ((i > 0 && ${#rest} == ${#text})); then
      line[${#line[@]}-1]+=$part
    else
      line+=("$part")
    fi
    ((at += ${#COMP_WORDS[i]}))
  done

  for ((i = 1; i < ${#line[@]} - 1; i++)); do
    text=${line[i]}
    if [[ -n $pending ]]; then
      pending=
    elif [[ $text == -- ]]; then
      only_arguments=1
    elif [[ $text == -?* && -z $only_arguments ]]; then
      if _ivf_option "$command" "$text"; then pending=$text; fi
    elif [[ -z $command ]]; then
      command=$text
    else
      ((position++))
    fi
  done

  COMPREPLY=()
  cur=${line[${#line[@]}-1]}
  value=$cur kind=none words= list=
  if [[ -n $pending ]]; then
    _ivf_option "$command" "$pending"
  elif [[ $cur == --*=* && -z $only_arguments ]]; then
    _ivf_option "$command" "${cur%%=*}" || return
    stem=${cur%%=*}= value=${cur#*=}
  elif [[ $cur == -* && -z $only_arguments ]]; then
    kind=words
    _ivf_options "$command"
  elif [[ -z $command ]]; then
    kind=words words=$_ivf_commands
  else
    _ivf_argument "$command" "$position"
  fi

  local candidates=() each
  if [[ $kind == *words* ]]; then
    part=
    if [[ -n $list && $value == *,* ]]; then part=${value%,*},; fi
    for each in $words; do
      if [[ $part$each == "$value"* ]]; then candidates+=("$part$each"); fi
    done
  fi
  if [[ $kind == *files* || $kind == folders ]]; then
    # A format may stand before the name: fvecs:FILE.
    text=
    if [[ $value == *:* ]]; then text=${value%:*}: value=${value##*:}; fi
    # What is typed so far may be quoted; readline quotes what is offered.
    value=${value#[\"\']}
    value=${value//\\/}
    if [[ ${#candidates[@]} == 0 ]]; then compopt -o filenames 2>/dev/null; fi
    part=-f
    if [[ $kind == folders ]]; then part=-d; fi
    while IFS= read -r each; do candidates+=("$text$each"); done < <(compgen "$part" -- "$value")
  fi

  # Readline replaces only what stands behind the last character at which it cuts words.
  part=$stem
  if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then
    part=${cur%:*}:
  elif [[ $cur == *=* && $COMP_WORDBREAKS == *=* ]]; then
    part=${cur%%=*}=
  else
    part=
  fi
  for each in "${candidates[@]}"; do
    each=$stem$each
    COMPREPLY+=("${each#"$part"}")
  done
}

complete -F _ivf ivf
)";

const char* kind_name(Completion completion) {
  switch (completion) {
    case Completion::none:
      return "none";
    case Completion::words:
      return "words";
    case Completion::files:
      return "files";
    case Completion::words_and_files:
      return "words_and_files";
    case Completion::folders:
      return "folders";
  }
  return "none";
}

std::string assignments(const ValueDefinition& value) {
  std::string out = fmt::format("kind={}", kind_name(value.completion));
  if (!value.words.empty()) out += fmt::format(" words='{}'", joined(value.words, " "));
  if (value.list) out += " list=1";
  return out;
}

std::string option_names(const CommandDefinition& command) {
  std::vector<std::string> names;
  for (const OptionDefinition& option : command.options) {
    names.insert(names.end(), option.names.begin(), option.names.end());
  }
  return fmt::format("    '{}') words='{}' ;;\n", command.name, joined(names, " "));
}

std::string option_values(const CommandDefinition& command) {
  std::map<std::string, std::vector<std::string>> patterns;  // By what their values are.
  for (const OptionDefinition& option : command.options) {
    if (option.flag) continue;
    for (const std::string& name : option.names) {
      patterns[assignments(option.value)].push_back(fmt::format("{}:{}", command.name, name));
    }
  }
  std::string out;
  for (const auto& [values, names] : patterns) out += fmt::format("    {}) {} ;;\n", joined(names, " | "), values);
  return out;
}

std::string argument_values(const CommandDefinition& command) {
  std::string out;
  for (std::size_t i = 0; i < command.arguments.size(); ++i) {
    const ArgumentDefinition& argument = command.arguments[i];
    const std::string position = argument.repeated ? "*" : std::to_string(i);
    out += fmt::format("    {}:{}) {} ;;\n", command.name, position, assignments(argument.value));
  }
  return out;
}

}  // namespace

std::string bash_completions(const ProgramDefinition& definitions) {
  std::string options = option_names(definitions.program);
  std::string values = option_values(definitions.program);
  std::string arguments = "    help:0) kind=words words=$_ivf_commands ;;\n";
  std::vector<std::string> commands;
  for (const CommandDefinition& command : definitions.commands) {
    options += option_names(command);
    values += option_values(command);
    arguments += argument_values(command);
    commands.push_back(command.name);
  }
  std::string out = fmt::format("# {}\n\n", completions_title("bash"));
  out += fmt::format("_ivf_commands='{} help'\n", joined(commands, " "));
  out += "\n# The options of command $1.\n_ivf_options() {\n  case $1 in\n" + options + "  esac\n}\n";
  out += "\n# What the value of option $2 of command $1 may be; fails for options without.\n_ivf_option() {\n";
  out += "  case $1:$2 in\n" + values + "    *) return 1 ;;\n  esac\n}\n";
  out += "\n# What argument $2 of command $1 may be.\n_ivf_argument() {\n  case $1:$2 in\n" + arguments + "  esac\n}\n";
  return out + bash_functions;
}

}  // namespace ivf::cli

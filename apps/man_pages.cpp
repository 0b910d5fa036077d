#include <algorithm>
#include <cctype>

#include "command.h"
#include "man.h"
#include "version.h"

namespace ivf::cli {
namespace {

/// Text as roff takes it. Every dash is one that can be copied and typed again; prose has no other that matters.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '^':
        out += "\\(ha";
        break;
      case '~':
        out += "\\(ti";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// A line that begins with a dot would be a request.
std::string line_of(const std::string& text) { return fmt::format("{}{}\n", text.starts_with('.') ? "\\&" : "", text); }

/// Escapes prose; what stands in `backquotes` is bold.
std::string prose(std::string_view text) {
  std::string out;
  bool bold = false;
  for (;;) {
    const auto quote = std::min(text.find('`'), text.size());
    out += escaped(text.substr(0, quote));
    if (quote == text.size()) break;
    bold = !bold;
    out += bold ? "\\fB" : "\\fR";
    text.remove_prefix(quote + 1);
  }
  return bold ? out + "\\fR" : out;
}

std::string bold(std::string_view text) { return fmt::format("\\fB{}\\fR", escaped(text)); }
std::string italic(std::string_view text) { return fmt::format("\\fI{}\\fR", escaped(text)); }
std::string heading(const char* request, std::string_view text) {
  return fmt::format("{} {}\n", request, escaped(text));
}
std::string item(const std::string& term, const std::string& text) {
  return fmt::format(".TP\n{}{}", line_of(term), line_of(text));
}

std::string upper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return out;
}

std::string page_name(const CommandDefinition& command) {
  return command.name.empty() ? "ivf" : fmt::format("ivf-{}", command.name);
}

/// The end of a help text, which is laid out for a terminal: indented lines are shown as they are, others are prose. A
/// line "Examples:" before indented ones becomes a section.
std::string footer_text(std::string_view text) {
  std::string out;
  bool verbatim = false;
  bool paragraph = false;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const bool indented = line.starts_with("  ");
    if (verbatim && !indented) out += ".EE\n.RE\n";
    if (!verbatim && indented) out += ".RS 4\n.EX\n";
    verbatim = indented;
    if (indented) {
      out += line_of(escaped(line.substr(2)));
    } else if (line == "Examples:") {
      out += ".SH EXAMPLES\n";
    } else if (!line.empty()) {
      out += (paragraph ? "" : ".PP\n") + line_of(prose(line));
    }
    paragraph = !indented && !line.empty() && line != "Examples:";
  }
  return verbatim ? out + ".EE\n.RE\n" : out;
}

std::string option_entry(const OptionDefinition& option) {
  std::string names;
  for (const std::string& name : option.names) names += (names.empty() ? "" : ", ") + bold(name);
  if (!option.flag) names += fmt::format(" {}", italic(option.value.type));
  std::string text = prose(option.text);
  if (option.required) text += " (required)";
  if (!option.shown_default.empty()) text += fmt::format(" [default: {}]", prose(option.shown_default));
  return item(names, text);
}

std::string option_entries(const CommandDefinition& command) {
  std::string out;
  std::string group;
  for (const OptionDefinition& option : command.options) {
    if (option.group != group) {
      group = option.group;
      out += heading(".SS", group);
    }
    out += option_entry(option);
  }
  return out;
}

std::string head(const CommandDefinition& command, const std::string& summary) {
  const std::string name = page_name(command);
  return fmt::format(".\\\" Made by `ivf man {}` of ivf {}.\n", command.name, version()) +
         fmt::format(".TH {} 1 \"\" \"ivf {}\" \"User Commands\"\n", upper(escaped(name)), escaped(version())) +
         fmt::format(".SH NAME\n{} \\- {}\n", escaped(name), escaped(summary));
}

std::string exit_status() {
  std::string out = ".SH EXIT STATUS\n";
  for (const ExitCodeText& each : exit_codes()) {
    out += item(bold(std::to_string(static_cast<int>(each.code))), prose(each.meaning));
  }
  return out +
         ".PP\nA command that is interrupted ends by the signal: a shell shows 128 and the signal\\(aqs number.\n";
}

/// Names of pages as SEE ALSO lists them: \% keeps one from being hyphenated.
std::string references(const std::vector<std::string>& names) {
  std::string out = ".SH SEE ALSO\n";
  for (std::size_t i = 0; i < names.size(); ++i) {
    out += fmt::format(".BR \\%{} (1){}\n", escaped(names[i]), i + 1 < names.size() ? "," : "");
  }
  return out;
}

std::string synopsis(const CommandDefinition& command) {
  std::string out = fmt::format(".SH SYNOPSIS\n{} [{}]", bold(fmt::format("ivf {}", command.name)), italic("OPTIONS"));
  for (const ArgumentDefinition& argument : command.arguments) {
    const std::string name = italic(argument.value.type) + (argument.repeated ? "..." : "");
    out += argument.required ? fmt::format(" {}", name) : fmt::format(" [{}]", name);
  }
  for (const OptionDefinition& option : command.options) {
    if (option.required) out += fmt::format(" {} {}", bold(option.names.front()), italic(option.value.type));
  }
  return out + "\n";
}

/// Without its last full stop, and with a small letter first, as NAME wants it.
std::string name_summary(std::string text) {
  if (text.ends_with('.')) text.pop_back();
  if (text.size() > 1 && !std::isupper(static_cast<unsigned char>(text[1]))) {
    text.front() = static_cast<char>(std::tolower(static_cast<unsigned char>(text.front())));
  }
  return text;
}

}  // namespace

std::string program_page(const ProgramDefinition& definitions) {
  const CommandDefinition& program = definitions.program;
  std::string out = head(program, name_summary(program.description));
  out += ".SH SYNOPSIS\n\\fBivf\\fR [\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]\n";
  out += ".SH DESCRIPTION\n" + line_of(prose(program.description)) + footer_text(program.footer);
  out += ".SH COMMANDS\n";
  std::string group;
  std::vector<std::string> pages;
  for (const CommandDefinition& command : definitions.commands) {
    if (command.group != group) {
      group = command.group;
      out += heading(".SS", group);
    }
    out += item(bold(command.name), prose(command.summary));
    pages.push_back(page_name(command));
  }
  out += ".SH OPTIONS\n" + option_entries(program);
  return out + exit_status() + references(pages);
}

std::string command_page(const ProgramDefinition& definitions, const CommandDefinition& command) {
  std::string out = head(command, name_summary(command.summary)) + synopsis(command);
  out += ".SH DESCRIPTION\n" + line_of(prose(command.description));
  if (!command.arguments.empty()) {
    out += ".SH ARGUMENTS\n";
    for (const ArgumentDefinition& argument : command.arguments) {
      out += item(italic(argument.value.type), prose(argument.text));
    }
  }
  out += ".SH OPTIONS\n" + option_entries(command);
  out += footer_text(command.footer) + exit_status();
  std::vector<std::string> pages{"ivf"};
  for (const CommandDefinition& other : definitions.commands) {
    if (other.group == command.group && other.name != command.name) pages.push_back(page_name(other));
  }
  return out + references(pages);
}

}  // namespace ivf::cli

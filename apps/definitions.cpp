#include "definitions.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "program.h"

namespace ivf::cli {
namespace {

/// Whether `type` has one of the words in it: FILE|LIST has FILE, PROFILE has not.
template <std::size_t count>
bool speaks_of(const std::string& type, const std::array<std::string_view, count>& names) {
  const auto letter = [&type](std::size_t at) { return std::isalnum(static_cast<unsigned char>(type[at])) != 0; };
  return std::any_of(names.begin(), names.end(), [&](std::string_view name) {
    for (auto at = type.find(name); at != std::string::npos; at = type.find(name, at + 1)) {
      const auto end = at + name.size();
      if ((at == 0 || !letter(at - 1)) && (end == type.size() || !letter(end))) return true;
    }
    return false;
  });
}

Completion completion_of(const CLI::Option& option, bool has_words) {
  static constexpr std::array<std::string_view, 5> files = {"FILE", "FILES", "INDEX", "DATA", "PREFIX"};
  static constexpr std::array<std::string_view, 1> folders = {"DIR"};
  if (option.get_positional()) return has_words ? Completion::words : Completion::files;
  const std::string type = option.get_type_name();
  if (speaks_of(type, files)) return has_words ? Completion::words_and_files : Completion::files;
  if (has_words) return Completion::words;
  return speaks_of(type, folders) ? Completion::folders : Completion::none;
}

ValueDefinition value_of(const CLI::Option& option, const WordsOfOptions& words) {
  ValueDefinition value;
  value.type = option.get_positional() ? option.get_name() : option.get_type_name();
  const auto known = words.find(&option);
  if (known != words.end()) {
    value.words = known->second.words;
    value.list = known->second.list;
  }
  value.completion = completion_of(option, !value.words.empty());
  return value;
}

CommandDefinition read_command(const CLI::App& app, const WordsOfOptions& words) {
  CommandDefinition command;
  command.description = app.get_description();
  command.footer = app.get_footer();
  const std::vector<std::string> groups = app.get_groups();
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      command.arguments.push_back({option->get_description(), option->get_required(),
                                   option->get_items_expected_max() > 1, value_of(*option, words)});
      continue;
    }
    if (option->get_group().empty()) continue;  // As help leaves it out.
    OptionDefinition item;
    for (const auto& name : option->get_snames()) item.names.push_back("-" + name);
    for (const auto& name : option->get_lnames()) item.names.push_back("--" + name);
    item.text = option->get_description();
    item.group = option->get_group();
    item.shown_default = option->get_default_str();
    item.flag = option->get_items_expected_max() == 0;
    item.required = option->get_required();
    if (!item.flag) item.value = value_of(*option, words);
    command.options.push_back(std::move(item));
  }
  // Groups in the order of help.
  const auto rank = [&groups](const OptionDefinition& item) {
    return std::find(groups.begin(), groups.end(), item.group) - groups.begin();
  };
  std::stable_sort(command.options.begin(), command.options.end(),
                   [&rank](const auto& a, const auto& b) { return rank(a) < rank(b); });
  return command;
}

}  // namespace

ProgramDefinition read_definitions() {
  CommonOptions unused;
  Program program(unused);
  CLI::App& parser = program.parser();
  ProgramDefinition all{read_command(parser, program.words()), {}};
  for (const CommandEntry& item : command_table()) {
    CommandDefinition command = read_command(*parser.get_subcommand(item.name), program.words());
    command.name = item.name;
    command.group = item.group;
    command.summary = item.summary;
    all.commands.push_back(std::move(command));
  }
  return all;
}

}  // namespace ivf::cli

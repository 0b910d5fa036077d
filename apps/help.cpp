#include "help.h"

#include <algorithm>
#include <numeric>

#include <CLI/CLI.hpp>

#include "command.h"

namespace ivf::cli {
namespace {

constexpr std::size_t page_width = 80;
constexpr std::size_t text_column = 26;
constexpr std::size_t command_text_column = 18;

/// Stands for a space at which a line is not broken.
constexpr char hard_space = '\1';

std::string entry(const std::string& left, const std::string& text, std::size_t column = text_column) {
  std::string line = "  " + left;
  if (line.size() + 2 > column) {
    line += "\n" + std::string(column, ' ');
  } else {
    line.resize(column, ' ');
  }
  return line + wrap(text, column) + "\n";
}

std::string option_line(const CLI::Option* option) {
  std::string left;
  const auto& shorts = option->get_snames();
  const auto& longs = option->get_lnames();
  left = shorts.empty() ? "    " : "-" + shorts.front() + (longs.empty() ? "" : ", ");
  for (std::size_t i = 0; i < longs.size(); ++i) left += (i ? ", --" : "--") + longs[i];
  if (option->get_items_expected_max() > 0 && !option->get_type_name().empty()) left += " " + option->get_type_name();
  std::string text = option->get_description();
  std::string value = option->get_default_str();
  if (!value.empty()) {
    value = "[default: " + value + "]";
    if (value.size() <= page_width - text_column) std::replace(value.begin(), value.end(), ' ', hard_space);
    text += " " + value;
  }
  return entry(left, text);
}

std::string option_groups(const CLI::App* app) {
  std::string out;
  for (const std::string& group : app->get_groups()) {
    const auto options = app->get_options(
        [&](const CLI::Option* option) { return option->get_group() == group && !option->get_positional(); });
    if (group.empty() || options.empty()) continue;
    out += "\n" + group + ":\n";
    for (const auto* option : options) out += option_line(option);
  }
  return out;
}

std::string command_groups() {
  std::string out;
  std::string_view group;
  for (const CommandEntry& command : command_table()) {
    if (group != command.group) {
      group = command.group;
      out += fmt::format("\n{}:\n", group);
    }
    out += entry(command.name, command.summary, command_text_column);
  }
  return out;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> two_ago, previous(b.size() + 1), row(b.size() + 1);
  std::iota(previous.begin(), previous.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (a[i - 1] != b[j - 1])});
      // Two neighbouring letters swapped are one slip, not two.
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], two_ago[j - 2] + 1);
    }
    two_ago = previous;
    previous = row;
  }
  return previous[b.size()];
}

/// The subcommand that was asked for, or the program itself.
const CLI::App& active(const CLI::App& program) {
  const auto chosen = program.get_subcommands();
  return chosen.empty() ? program : *chosen.front();
}

std::string explain_extra(const std::string& word, const CLI::App& program, const CLI::App& app) {
  std::vector<std::string> candidates;
  if (word.size() > 1 && word.front() == '-') {
    const std::string name = word.substr(0, word.find('='));
    for (const auto* option : app.get_options()) {
      for (const auto& item : option->get_lnames()) candidates.push_back("--" + item);
      // Short options are a letter: every other letter is one edit away from them.
      for (const auto& item : option->get_snames()) {
        if (name == "--" + item) return fmt::format("unknown option {}; did you mean -{}?", name, item);
      }
    }
    const std::string guess = name.substr(0, 2) == "--" ? nearest(name, candidates) : std::string();
    if (!guess.empty()) return fmt::format("unknown option {}; did you mean {}?", name, guess);
    return fmt::format("unknown option {}", name);
  }
  if (&app != &program) return fmt::format("argument '{}' is one too many", word);
  for (const auto& command : command_table()) candidates.emplace_back(command.name);
  const std::string guess = nearest(word, candidates);
  if (!guess.empty()) return fmt::format("unknown command '{}'; did you mean {}?", word, guess);
  return fmt::format("unknown command '{}'", word);
}

}  // namespace

std::string wrap(const std::string& text, std::size_t indent) {
  std::string out;
  std::size_t column = indent;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word(text.data() + at, end - at);
    if (column > indent && column + 1 + word.size() > page_width) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    at = end + 1;
  }
  std::replace(out.begin(), out.end(), hard_space, ' ');
  return out;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::min<std::size_t>(3, word.size() / 2);
  for (const auto& candidate : candidates) {
    // A name cut short, or with more behind it, is as good as a slip of one letter.
    const bool prefix = word.size() >= 4 && (candidate.starts_with(word) || word.starts_with(candidate));
    const std::size_t distance = prefix ? 1 : edit_distance(word, candidate);
    if (distance < best_distance || (distance == best_distance && best.empty())) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string HelpFormatter::make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const {
  const bool program = app->get_parent() == nullptr;
  std::string out = wrap(app->get_description(), 0) + "\n\nUsage: ivf ";
  if (program) {
    out += "[OPTIONS] COMMAND [ARGUMENTS]\n" + command_groups();
    out += option_groups(app);
    return out + "\n" + app->get_footer();
  }
  std::string usage = app->get_name() + " [OPTIONS]";
  std::string arguments;
  for (const auto* option : app->get_options([](const CLI::Option* item) { return item->get_positional(); })) {
    usage += option->get_required() ? " " + option->get_name() : " [" + option->get_name() + "]";
    if (option->get_items_expected_max() > 1) usage += "...";
    arguments += entry(option->get_name(), option->get_description());
  }
  for (const auto* option :
       app->get_options([](const CLI::Option* item) { return item->get_required() && !item->get_positional(); })) {
    const auto& letters = option->get_snames();
    usage += " " + (letters.empty() ? option->get_name() : "-" + letters.front()) + " " + option->get_type_name();
  }
  out += usage + "\n";
  if (!arguments.empty()) out += "\nArguments:\n" + arguments;
  return out + option_groups(app) + "\n" + app->get_footer();
}

std::string explain(const CLI::ParseError& error, const CLI::App& program) {
  const CLI::App& app = active(program);
  const std::string where = &app == &program ? "ivf --help" : fmt::format("ivf {} --help", app.get_name());
  const std::string hint = fmt::format(" (see `{}`)", where);
  const auto first_dashed = [](const std::vector<std::string>& words) {
    const auto found = std::find_if(words.begin(), words.end(), [](const auto& word) { return word.starts_with("-"); });
    return found == words.end() ? std::string() : *found;
  };
  if (&app != &program) {
    const std::string early = first_dashed(program.remaining());
    const std::string name = early.substr(0, early.find('='));
    if (!name.empty() && app.get_option_no_throw(name) != nullptr) {
      return fmt::format("{} is an option of the command: write it behind `{}`{}", name, app.get_name(), hint);
    }
    if (!name.empty()) return explain_extra(early, program, program) + hint;
  }
  auto extras = app.remaining();
  if (const std::string dashed = first_dashed(extras); !dashed.empty())
    return explain_extra(dashed, program, app) + hint;
  if (!extras.empty()) return explain_extra(extras.front(), program, app) + hint;
  if (error.get_name() == "RequiredError") {
    if (&app == &program) return "a command is needed" + hint;
    std::vector<std::string> missing;
    for (const auto* option : app.get_options()) {
      if (option->get_required() && option->count() == 0) missing.push_back(option->get_name());
    }
    return fmt::format("{} {} missing{}", fmt::join(missing, " and "), missing.size() == 1 ? "is" : "are", hint);
  }
  if (error.get_name() == "ArgumentMismatch") {
    for (const auto* option : app.get_options()) {
      if (!option->get_positional() && std::string_view(error.what()).starts_with(option->get_name())) {
        return fmt::format("{} needs a value{}", option->get_name(), hint);
      }
    }
  }
  return error.what() + hint;
}

}  // namespace ivf::cli

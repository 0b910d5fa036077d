#pragma once
/// \file
/// What the parser knows of the command line, as plain data: completions and manual pages are made of it.

#include <string>
#include <vector>

namespace ivf::cli {

/// How the value of an option or argument is completed.
enum class Completion { none, words, files, words_and_files, folders };

struct ValueDefinition {
  std::string type;  ///< What stands for it in help: N, FILE.
  Completion completion = Completion::none;
  std::vector<std::string> words;
  bool list = false;  ///< Words may be joined by commas.
};

struct OptionDefinition {
  std::vector<std::string> names;  ///< With their dashes, short ones first.
  std::string text;
  std::string group;
  std::string shown_default;
  bool flag = false;  ///< Takes no value.
  bool required = false;
  ValueDefinition value;
};

struct ArgumentDefinition {
  std::string text;
  bool required = false;
  bool repeated = false;  ///< Takes all words that follow.
  ValueDefinition value;
};

struct CommandDefinition {
  std::string name;  ///< Empty: the program itself.
  std::string group;
  std::string summary;
  std::string description;
  std::string footer;
  std::vector<ArgumentDefinition> arguments;
  std::vector<OptionDefinition> options;
};

struct ProgramDefinition {
  CommandDefinition program;
  std::vector<CommandDefinition> commands;
};

ProgramDefinition read_definitions();

}  // namespace ivf::cli

#pragma once
/// \file
/// The layout of --help, and what misuse is answered with.

#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

namespace ivf::cli {

/// Lays out help for a terminal of 80 columns: usage, arguments, options by group with defaults, examples.
class HelpFormatter : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
};

/// Wraps text at the page's width; lines after the first start at `indent`.
std::string wrap(const std::string& text, std::size_t indent);

/// One line that says what is wrong with the command line and what was probably meant.
std::string explain(const CLI::ParseError& error, const CLI::App& program);

/// The candidate nearest to `word` by edit distance, or an empty string when none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace ivf::cli

#pragma once
/// \file
/// Tables for people: columns as wide as they need to be, two spaces apart.

#include <string>
#include <vector>

namespace ivf::cli {

class Table {
 public:
  enum class Align { left, right };

  void column(std::string heading, Align align = Align::right) { columns_.push_back({std::move(heading), align}); }
  /// One cell a column.
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  std::string text() const;
  /// The same as a table of GitHub-flavoured Markdown.
  std::string markdown() const;

 private:
  struct Column {
    std::string heading;
    Align align;
  };
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace ivf::cli

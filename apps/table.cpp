#include "table.h"

#include <algorithm>

#include <fmt/format.h>

namespace ivf::cli {

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::size_t width = columns_[c].heading.size();
    for (const auto& row : rows_) width = std::max(width, row[c].size());
    widths.push_back(width);
  }
  std::string out;
  const auto line = [&](const auto& cell_of) {
    std::string text;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      if (c > 0) text += "  ";
      text += columns_[c].align == Align::left ? fmt::format("{:<{}}", cell_of(c), widths[c])
                                               : fmt::format("{:>{}}", cell_of(c), widths[c]);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  line([&](std::size_t c) { return columns_[c].heading; });
  for (const auto& row : rows_) line([&](std::size_t c) { return row[c]; });
  return out;
}

std::string Table::markdown() const {
  std::string out = "|";
  for (const Column& column : columns_) out += fmt::format(" {} |", column.heading);
  out += "\n|";
  for (const Column& column : columns_) out += column.align == Align::left ? "---|" : "---:|";
  for (const auto& row : rows_) {
    out += "\n|";
    for (const std::string& cell : row) {
      std::string escaped;
      for (const char c : cell) escaped += c == '|' ? std::string("\\|") : std::string(1, c);
      out += fmt::format(" {} |", escaped);
    }
  }
  return out + "\n";
}

}  // namespace ivf::cli

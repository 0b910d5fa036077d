#pragma once
/// \file
/// How records reach the user: JSON lines, or a table.

#include <string>
#include <vector>

#include "bench/record.h"
#include "bench_options.h"
#include "command.h"

namespace ivf::cli {

/// Records as they come. With --out they are appended to the file at the end, all or none; otherwise they are lines of
/// standard output. A person (a terminal, or a pipe when the records went to a file) is shown a table.
class BenchReport {
 public:
  /// Refuses an output that cannot be appended to, before any work is done.
  BenchReport(Context& context, const BenchOptions& options);

  void add(std::vector<bench::Json> records);
  /// Appends to --out and shows the table.
  void finish();

 private:
  Context& context_;
  std::string out_;
  bool lines_, table_;
  std::vector<bench::Json> records_;
};

/// The table of some records, with a heading that says what they have in common.
std::string bench_table(const std::vector<bench::Json>& records);

}  // namespace ivf::cli

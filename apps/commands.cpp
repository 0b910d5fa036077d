#include "command.h"

namespace ivf::cli {

std::unique_ptr<Command> make_train();
std::unique_ptr<Command> make_add();
std::unique_ptr<Command> make_search();
std::unique_ptr<Command> make_info();
std::unique_ptr<Command> make_verify();
std::unique_ptr<Command> make_truth();
std::unique_ptr<Command> make_eval();
std::unique_ptr<Command> make_convert();
std::unique_ptr<Command> make_demo();

std::span<const CommandEntry> command_table() {
  static constexpr CommandEntry table[] = {
      {"train", "Index", "Learn centroids from vectors and create an index without rows", make_train},
      {"add", "Index", "Add vectors to an index", make_add},
      {"search", "Index", "Find the nearest rows of each query", make_search},
      {"info", "Index", "Show what an index holds", make_info},
      {"verify", "Index", "Check that an index file is sound", make_verify},
      {"truth", "Quality", "Compute exact neighbours (ground truth)", make_truth},
      {"eval", "Quality", "Measure the recall of a result file", make_eval},
      {"convert", "Data", "Convert vectors between file formats", make_convert},
      {"demo", "Data", "Run the whole way once on synthetic vectors", make_demo},
  };
  return table;
}

}  // namespace ivf::cli

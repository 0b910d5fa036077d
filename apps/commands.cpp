#include "command.h"

namespace ivf::cli {

std::unique_ptr<Command> make_train();
std::unique_ptr<Command> make_add();
std::unique_ptr<Command> make_remove();
std::unique_ptr<Command> make_compact();
std::unique_ptr<Command> make_merge();
std::unique_ptr<Command> make_split();
std::unique_ptr<Command> make_search();
std::unique_ptr<Command> make_merge_results();
std::unique_ptr<Command> make_info();
std::unique_ptr<Command> make_verify();
std::unique_ptr<Command> make_reconstruct();
std::unique_ptr<Command> make_export();
std::unique_ptr<Command> make_import();
std::unique_ptr<Command> make_truth();
std::unique_ptr<Command> make_eval();
std::unique_ptr<Command> make_convert();
std::unique_ptr<Command> make_demo();
std::unique_ptr<Command> make_bench();
std::unique_ptr<Command> make_sweep_nq();
std::unique_ptr<Command> make_sweep_maxcodes();
std::unique_ptr<Command> make_sweep_nprobe();
std::unique_ptr<Command> make_compare();
std::unique_ptr<Command> make_devices();
std::unique_ptr<Command> make_dump_env();
std::unique_ptr<Command> make_completions();
std::unique_ptr<Command> make_man();

std::span<const CommandEntry> command_table() {
  static constexpr CommandEntry table[] = {
      {"train", "Index", "Learn centroids from vectors and create an index without rows", make_train},
      {"add", "Index", "Add vectors to an index", make_add},
      {"remove", "Index", "Remove rows from an index", make_remove},
      {"compact", "Index", "Write an index anew, without removed rows, as one segment", make_compact},
      {"merge", "Index", "Make one index of several", make_merge},
      {"split", "Index", "Make several indexes of one", make_split},
      {"search", "Index", "Find the nearest rows of each query", make_search},
      {"merge-results", "Index", "Merge what several shards found", make_merge_results},
      {"info", "Index", "Show what an index holds", make_info},
      {"verify", "Index", "Check that an index file is sound", make_verify},
      {"reconstruct", "Index", "Get stored vectors back by their ids", make_reconstruct},
      {"export", "Index", "Write an index for other programs: faiss, .npy, HDF5", make_export},
      {"import", "Index", "Make an index of a file of faiss", make_import},
      {"truth", "Quality", "Compute exact neighbours (ground truth)", make_truth},
      {"eval", "Quality", "Measure the recall of a result file", make_eval},
      {"convert", "Data", "Convert vectors between file formats", make_convert},
      {"demo", "Data", "Run the whole way once on synthetic vectors", make_demo},
      {"bench", "Measure", "Time train, add and search; one record", make_bench},
      {"sweep-nq", "Measure", "Speed by the number of queries searched together", make_sweep_nq},
      {"sweep-maxcodes", "Measure", "Speed and recall by the rows scanned at most", make_sweep_maxcodes},
      {"sweep-nprobe", "Measure", "Speed and recall by the lists scanned", make_sweep_nprobe},
      {"compare", "Measure", "Compare two files of records", make_compare},
      {"devices", "Measure", "List what can compute here", make_devices},
      {"dump-env", "Measure", "Show what could change a result or a timing", make_dump_env},
      {"completions", "Shell", "Print the completions of a shell", make_completions},
      {"man", "Shell", "Print a manual page", make_man},
  };
  return table;
}

std::span<const ExitCodeText> exit_codes() {
  static constexpr ExitCodeText table[] = {
      {exit_done, "done"},
      {exit_failed, "failed"},
      {exit_misuse, "misuse"},
      {exit_corrupt, "corrupt or unreadable data"},
      {exit_check_failed, "a check said no (verify, compare, eval and search with --min-recall, search --verify)"},
  };
  return table;
}

}  // namespace ivf::cli

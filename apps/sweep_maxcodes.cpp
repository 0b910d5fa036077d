// ivf sweep-maxcodes: speed and recall against the number of rows that a query may scan.

#include "sweep.h"

namespace ivf::cli {

std::unique_ptr<Command> make_sweep_maxcodes() {
  return make_sweep({
      .command = "sweep-maxcodes",
      .description =
          "Measure what a limit of the rows that each query may scan (--max-codes) costs in recall and gains in "
          "speed. recall_at_k_vs_unlimited is against the same library without a limit.",
      .examples = R"(Examples:
  ivf sweep-maxcodes
  ivf sweep-maxcodes --library ivf,faiss --out runs.jsonl
  ivf sweep-maxcodes --dataset sift.hdf5 --nq 1000 --max-codes-list 0,5k,10k,20k
)",
      .swept = "--max-codes",
      .list_option = "--max-codes-list",
      .list_help = "Limits, separated by commas; 0: no limit",
      .shown = "0,16384,32768,65536,131072",
      .values = {0, 16'384, 32'768, 65'536, 131'072},
      .min = 0,
      .wanted = {.recall = false, .recall_vs_unlimited = true},
      .recall_option = true,
      .parameter = &BenchPoint::max_codes,
      .modes = {SearchMode::automatic},
  });
}

}  // namespace ivf::cli

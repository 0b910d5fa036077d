// ivf sweep-nq: speed against the number of queries that are searched together.

#include "sweep.h"

namespace ivf::cli {

std::unique_ptr<Command> make_sweep_nq() {
  return make_sweep({
      .command = "sweep-nq",
      .description =
          "Measure how speed depends on the number of queries that are searched together. The index is built "
          "once; libraries and search modes take turns at each value.",
      .examples = R"(Examples:
  ivf sweep-nq
  ivf sweep-nq --library ivf,faiss --search-mode auto --out runs.jsonl
  ivf sweep-nq --dataset sift.hdf5 --nq-list 1,16,256,4096
)",
      .swept = "--nq",
      .list_option = "--nq-list",
      .list_help = "Numbers of queries, separated by commas",
      .shown = "1,8,32,128,512,2048,19600",
      .values = {1, 8, 32, 128, 512, 2048, 19'600},
      .min = 1,
      .wanted = {},
      .recall_option = true,
      .parameter = &BenchPoint::nq,
      .modes = {SearchMode::matrix, SearchMode::csr},
  });
}

}  // namespace ivf::cli

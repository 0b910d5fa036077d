// ivf sweep-nprobe: the curve of recall against speed.

#include "sweep.h"

namespace ivf::cli {

std::unique_ptr<Command> make_sweep_nprobe() {
  return make_sweep({
      .command = "sweep-nprobe",
      .description =
          "Measure recall against exact search, and speed, for several numbers of lists to scan: the curve from "
          "which to choose --nprobe.",
      .examples = R"(Examples:
  ivf sweep-nprobe --dataset sift.hdf5 --nlist 1024 --nq 10000
  ivf sweep-nprobe --index sift.ivf --queries queries.fvecs --nprobe-list 8,16,32
  ivf sweep-nprobe --library ivf,faiss --same-centroids --out runs.jsonl
)",
      .swept = "--nprobe",
      .list_option = "--nprobe-list",
      .list_help = "Numbers of lists to scan, separated by commas",
      .shown = "1,2,4,8,16,32,64,128",
      .values = {1, 2, 4, 8, 16, 32, 64, 128},
      .min = 1,
      .wanted = {.recall = true, .recall_vs_unlimited = false},
      .recall_option = false,
      .parameter = &BenchPoint::nprobe,
      .modes = {SearchMode::automatic},
  });
}

}  // namespace ivf::cli

// ivf bench: one measurement of train, add and search.

#include "bench_report.h"
#include "bench_session.h"
#include "command.h"

namespace ivf::cli {
namespace {

class Bench final : public Command {
 public:
  Bench() { bench_.defaults = {128, 65'536, 0, 128, 1024, 16, 10, {SearchMode::matrix}}; }

  void define(OptionSet& options) override {
    options.describe(
        "Train an index, add rows to it and search it, each timed by itself, on generated vectors, a data set or an "
        "index that exists. The result is one record (docs/record.schema.json): a table on a terminal, a JSON line in "
        "a pipe or with --json; --out appends it to a file. With --library ivf,faiss the two take turns, run by run, "
        "and the ratio is of such pairs.",
        R"(Examples:
  ivf bench
  ivf bench --dataset sift.hdf5 --nlist 1024 --nprobe 32 --recall
  ivf bench --index sift.ivf --queries queries.fvecs --nq 1 --search-mode auto
  ivf bench --library ivf,faiss --nb 262144 --nlist 512 --nq 2048 --out runs.jsonl
  ivf bench --profile --search-mode auto --nq 2048
  ivf bench --json | jq .qps
)");
    bench_.define(options, nullptr);
    options.group("Measurement options");
    options.flag("--recall", wanted_.recall, "Search exactly as well and report recall@k");
    options.flag("--profile", wanted_.profile, "Show where the time goes, and how near to the machine's peak it is");
  }

  int run(Context& context) override {
    bench_.check();
    BenchReport report(context, bench_);
    const BenchPoint point{bench_.nq.value_or(bench_.defaults.nq), bench_.nprobe.value_or(bench_.defaults.nprobe),
                           bench_.max_codes};
    BenchSession session(context, bench_, "bench", point.nq, wanted_);
    report.add(session.measure(point));
    session.finish();
    report.finish();
    return exit_done;
  }

 private:
  BenchOptions bench_;
  Wanted wanted_;
};

}  // namespace

std::unique_ptr<Command> make_bench() { return std::make_unique<Bench>(); }

}  // namespace ivf::cli

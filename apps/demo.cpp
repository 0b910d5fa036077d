// ivf demo: the whole way once, on synthetic vectors and in memory.

#include <algorithm>

#include "command.h"
#include "device_options.h"
#include "ivf/datasets/datasets.hpp"
#include "ivf/index.hpp"
#include "message.h"
#include "signals.h"
#include "stdout.h"
#include "summary.h"
#include "verification.h"

namespace ivf::cli {
namespace {

class Demo final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Make vectors, train an index on them, add them, search it and, with --verify, hold the results against an "
        "exact search. Everything stays in memory; each step is printed with its time and the command that does it "
        "on files.",
        R"(Examples:
  ivf demo --verify
  ivf demo --nb 1M --dim 128 --nlist 1024 --nprobe 32 --verify
  ivf demo --verify --min-recall 0.9 --json
)");
    options.group("Demo options");
    options.count("--nb", nb_, "N", "Rows", 1, 1u << 30).shows("100000");
    options.count("--nq", nq_, "N", "Queries", 1, 1u << 30).shows("1000");
    options.count("--dim", dim_, "N", "Dimensions", 1, 65'536).shows("64");
    options.count("--nlist", nlist_, "N", "Lists", 1, 1u << 20).shows("256");
    options.count("--nprobe", nprobe_, "N", "Lists to scan for each query", 1).shows("16");
    options.count("-k", k_, "N", "Neighbours of each query", 1, 16'384).shows("10");
    options
        .choice<Metric>("--metric", metric_, "NAME", "How vectors compare: l2, ip or cosine",
                        {{"l2", Metric::l2}, {"ip", Metric::ip}, {"cosine", Metric::cosine}})
        .shows("l2");
    options.seed(seed_);
    options.flag("--verify", verify_,
                 "Compare with an exact search: report recall@k; exit code 4 when a distance is wrong");
    options.min_recall(min_recall_);
    device_.define(options);
  }

  int run(Context& context) override {
    if (min_recall_ && !verify_) misuse("--min-recall needs --verify to know the recall");
    if (nlist_ > nb_) misuse("--nlist: {} lists need at least as many rows, --nb is {}", nlist_, nb_);
    nprobe_ = std::min(nprobe_, nlist_);
    record_ = {{"nb", nb_},
               {"nq", nq_},
               {"dim", dim_},
               {"nlist", nlist_},
               {"nprobe", nprobe_},
               {"topk", k_},
               {"metric", metric_name(metric_)},
               {"seed", seed_}};
    IndexIVFFlat index(dim_, nlist_, metric_);
    index.to(device_.placement());
    record_["device"] = index.device().name;
    record_["backend"] = index.device().backend;
    // Rows and queries are parts of one sequence: of the same clusters, and all different.
    const std::vector<float> rows = generate(context, 0, nb_, "generate", "base.fvecs");
    const std::vector<float> queries = generate(context, nb_, nq_, "generate queries", "queries.fvecs");
    train(context, index, MatrixView(rows.data(), nb_, dim_));
    add(context, index, MatrixView(rows.data(), nb_, dim_));
    const MatrixView query_view(queries.data(), nq_, dim_);
    const SearchResult found = search(context, index, query_view);
    const int code = verify_ ? verify(context, index, query_view, found) : int{exit_done};
    if (context.options.json) print_json(record_);
    return code;
  }

 private:
  /// One step: what was done, how long it took, and what does it on files.
  void step(const Context& context, const std::string& what, double milliseconds, const std::string& command) const {
    if (context.options.json) return;
    print_line(fmt::format("{:<50} {:>10}\n  $ {}", what, human_time(milliseconds), command));
  }

  std::vector<float> generate(Context& context, std::uint64_t start, std::uint64_t count, const char* what,
                              const std::string& file) const {
    const Stopwatch watch;
    datasets::ReadOptions options;
    options.start = start;
    options.count = count;
    const std::string source = fmt::format("clustered:n={},d={},seed={}", nb_ + nq_, dim_, seed_);
    const auto reader = datasets::open_reader(source, options);
    std::vector<float> rows(count * dim_);
    for (std::uint64_t done = 0; done < count;) {
      done += reader->read(rows.data() + done * dim_, std::min<std::uint64_t>(count - done, 4096));
      context.console.progress("generating", done, count);
    }
    step(context, fmt::format("{}: {} of {} dimensions", what, counted(count, "row"), dim_), watch.milliseconds(),
         fmt::format("ivf convert {} {} --start {} --count {}", source, file, start, count));
    return rows;
  }

  void train(Context& context, IndexIVFFlat& index, MatrixView rows) {
    TrainParams params;
    static_cast<RunOptions&>(params) = context.options.run(context.console.callback());
    params.seed = seed_;
    const Stopwatch watch;
    const TrainReport report = index.train(rows, params);
    record_["train_ms"] = watch.milliseconds();
    record_["imbalance"] = report.imbalance;
    step(
        context,
        fmt::format("train: {}, {}, imbalance {:.3g}", counted(nlist_, "list"), metric_name(metric_), report.imbalance),
        watch.milliseconds(),
        fmt::format("ivf train base.fvecs -o demo.ivf --nlist {} --metric {} --train-n {} --seed {}{}", nlist_,
                    metric_name(metric_), nb_, seed_, device_.arguments()));
  }

  void add(Context& context, IndexIVFFlat& index, MatrixView rows) {
    const Stopwatch watch;
    index.add(rows, context.options.run(context.console.callback()));
    record_["add_ms"] = watch.milliseconds();
    step(context, fmt::format("add: {}", counted(rows.rows, "row")), watch.milliseconds(),
         "ivf add demo.ivf base.fvecs" + device_.arguments());
  }

  SearchParams params(Context& context) const {
    SearchParams params;
    static_cast<RunOptions&>(params) = context.options.run(context.console.callback());
    params.k = k_;
    params.nprobe = nprobe_;
    return params;
  }

  SearchResult search(Context& context, const IndexIVFFlat& index, MatrixView queries) {
    const Stopwatch watch;
    SearchResult found = index.search(queries, params(context));
    const double milliseconds = watch.milliseconds();
    record_["search_ms"] = milliseconds;
    record_["isa"] = found.stats.isa;
    record_["threads"] = found.stats.threads;
    record_["chosen_mode"] = mode_name(found.stats.chosen_mode);
    step(context,
         fmt::format("search: {}, k {}, {} a second", counted(nq_, "query", "queries"), k_,
                     grouped(static_cast<std::uint64_t>(static_cast<double>(nq_) * 1000 / milliseconds))),
         milliseconds,
         fmt::format("ivf search demo.ivf queries.fvecs --nprobe {} -k {}{}", nprobe_, k_, device_.arguments()));
    return found;
  }

  int verify(Context& context, const IndexIVFFlat& index, MatrixView queries, const SearchResult& found) {
    const Stopwatch watch;
    const SearchResult exact = index.search_exact(queries, params(context));
    Verification verification(metric_, k_);
    verification.add(0, found, exact, nprobe_ == nlist_);
    const double milliseconds = watch.milliseconds();
    record_["exact_ms"] = milliseconds;
    record_["recall_at_k"] = verification.recall();
    record_["verified"] = verification.sound();
    step(context, fmt::format("verify: recall@{} {:.4f} against an exact search", k_, verification.recall()),
         milliseconds,
         fmt::format("ivf search demo.ivf queries.fvecs --nprobe {} -k {} --verify{}", nprobe_, k_,
                     device_.arguments()));
    if (!verification.sound()) {
      context.console.error(verification.complaint());
      return exit_check_failed;
    }
    if (min_recall_ && verification.recall() < *min_recall_) {
      context.console.error(
          fmt::format("recall@{} is {:.4f}, below --min-recall {}", k_, verification.recall(), *min_recall_));
      return exit_check_failed;
    }
    return exit_done;
  }

  std::uint64_t nb_ = 100'000, nq_ = 1000, dim_ = 64, nlist_ = 256, nprobe_ = 16, k_ = 10, seed_ = 1234;
  Metric metric_ = Metric::l2;
  std::optional<double> min_recall_;
  DeviceOptions device_;
  bool verify_ = false;
  Json record_;
};

}  // namespace

std::unique_ptr<Command> make_demo() { return std::make_unique<Demo>(); }

}  // namespace ivf::cli

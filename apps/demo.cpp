// ivf demo: the whole way once, on synthetic vectors and in memory.

#include <algorithm>

#include "command.h"
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
  void define(CLI::App& app) override {
    app.description(
        "Make vectors, train an index on them, add them, search it and, with --verify, hold the results against an "
        "exact "
        "search. Everything stays in memory; each step is printed with its time and the command that does it on "
        "files.");
    const char* group = "Demo options";
    add_count(app, "--nb", nb_, "N", "Rows", 1, 1u << 30)->default_str("100000")->group(group);
    add_count(app, "--nq", nq_, "N", "Queries", 1, 1u << 30)->default_str("1000")->group(group);
    add_count(app, "--dim", dim_, "N", "Dimensions", 1, 65'536)->default_str("64")->group(group);
    add_count(app, "--nlist", nlist_, "N", "Lists", 1, 1u << 20)->default_str("256")->group(group);
    add_count(app, "--nprobe", nprobe_, "N", "Lists to scan for each query", 1)->default_str("16")->group(group);
    add_count(app, "-k", k_, "N", "Neighbours of each query", 1, 16'384)->default_str("10")->group(group);
    add_metric(app, metric_, group);
    add_count(app, "--seed", seed_, "N", "Seed of every random choice", 0, std::numeric_limits<std::uint64_t>::max())
        ->default_str("1234")
        ->group(group);
    app.add_flag("--verify", verify_, "Compare with an exact search: report recall@k, fail when a distance differs")
        ->group(group);
    add_value(app, "--min-recall", min_recall_, "R", "Exit code 4 when recall@k is below R (0 to 1)",
              [](std::string_view option, std::string_view text) { return parse_number(option, text, 0, 1); })
        ->group(group);
    app.footer(R"(Examples:
  ivf demo --verify
  ivf demo --nb 1M --dim 128 --nlist 1024 --nprobe 32 --verify
  ivf demo --verify --min-recall 0.9 --json
)");
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
               {"metric", metric_name(metric())},
               {"seed", seed_}};
    // Rows and queries are parts of one sequence: of the same clusters, and all different.
    const std::vector<float> rows = generate(context, 0, nb_, "generate rows", "base.fvecs");
    const std::vector<float> queries = generate(context, nb_, nq_, "generate queries", "queries.fvecs");
    IndexIVFFlat index(dim_, nlist_, metric());
    train(context, index, MatrixView(rows.data(), nb_, dim_));
    add(context, index, MatrixView(rows.data(), nb_, dim_));
    const MatrixView query_view(queries.data(), nq_, dim_);
    const SearchResult found = search(context, index, query_view);
    const int code = verify_ ? verify(context, index, query_view, found) : int{exit_done};
    if (context.options.json) print_json(record_);
    return code;
  }

 private:
  Metric metric() const { return metric_.value_or(Metric::l2); }

  /// One step: what was done, how long it took, and what does it on files.
  void step(const Context& context, const std::string& what, double milliseconds, const std::string& command) const {
    if (!context.options.json) print_line(fmt::format("{:<34} {:>9}   {}", what, human_time(milliseconds), command));
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
    step(context, fmt::format("{}: {} x {}", what, count, dim_), watch.milliseconds(),
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
    step(context, fmt::format("train: {} lists, {}", nlist_, metric_name(metric())), watch.milliseconds(),
         fmt::format("ivf train base.fvecs -o demo.ivf --nlist {} --metric {} --train-n {} --seed {}", nlist_,
                     metric_name(metric()), nb_, seed_));
  }

  void add(Context& context, IndexIVFFlat& index, MatrixView rows) {
    const Stopwatch watch;
    index.add(rows, context.options.run(context.console.callback()));
    record_["add_ms"] = watch.milliseconds();
    step(context, fmt::format("add: {}", counted(rows.rows, "row")), watch.milliseconds(),
         "ivf add demo.ivf base.fvecs");
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
    step(context, fmt::format("search: nprobe {}, k {}", nprobe_, k_), milliseconds,
         fmt::format("ivf search demo.ivf queries.fvecs --nprobe {} -k {}", nprobe_, k_));
    return found;
  }

  int verify(Context& context, const IndexIVFFlat& index, MatrixView queries, const SearchResult& found) {
    const Stopwatch watch;
    const SearchResult exact = index.search_exact(queries, params(context));
    Verification verification(metric(), k_);
    verification.add(0, found, exact, nprobe_ == nlist_);
    const double milliseconds = watch.milliseconds();
    record_["exact_ms"] = milliseconds;
    record_["recall_at_k"] = verification.recall();
    record_["verified"] = verification.sound();
    step(context, fmt::format("verify: recall@{} {:.4f}", k_, verification.recall()), milliseconds,
         fmt::format("ivf search demo.ivf queries.fvecs --nprobe {} -k {} --verify", nprobe_, k_));
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
  std::optional<Metric> metric_;
  std::optional<double> min_recall_;
  bool verify_ = false;
  Json record_;
};

}  // namespace

std::unique_ptr<Command> make_demo() { return std::make_unique<Demo>(); }

}  // namespace ivf::cli

// ivf train: learns centroids from a sample of the data and creates an index without rows.

#include <algorithm>

#include "command.h"
#include "destination.h"
#include "device_options.h"
#include "ivf/index.hpp"
#include "message.h"
#include "rows.h"
#include "signals.h"
#include "summary.h"

namespace ivf::cli {
namespace {

class Train final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Learn centroids by k-means from a sample of the data, and create an index that holds them and no rows yet. "
        "The same data, seed and parameters give the same file, byte for byte, on any machine.",
        R"(Examples:
  ivf train sift.hdf5 --nlist 1024 -o sift.ivf
  ivf train base.fvecs --nlist 4k --metric cosine --train-n 500k -o base.ivf
  zstdcat base.fvecs.zst | ivf train - --nlist 1024 -o base.ivf
  ivf train base.npy --flat -o exact.ivf

Then: ivf add INDEX DATA
)");
    options.argument("DATA", data_, "Vectors to learn from");
    options.group("Index options");
    options.text("-o,--out", index_, "INDEX", "Index file to create").required();
    options.count("--nlist", nlist_, "N",
                  "Number of lists (centroids); 1 to 16 times the square root of the rows is usual", 1, 1u << 20);
    options.metric(metric_);
    options.flag("--flat", flat_, "Create an index without lists, for exact search");
    options.flag("--compress", compress_, "Store rows as zstd frames: a smaller file, more memory when opened");
    options.force(force_);
    options.group("Training options");
    options.training(train_n_, iterations_, init_);
    options.seed(seed_);
    options.row_range(range_);
    device_.define(options);
  }

  int run(Context& context) override {
    check_options();
    check_destination(parse_destination(index_), force_);
    const Metric metric = metric_ ? *metric_ : datasets::stored_metric(data_).value_or(Metric::l2);
    RowSource source(data_, datasets::Role::base, range_, RowSource::Use::store);
    return flat_ ? create_flat(context, source, metric) : train(context, source, metric);
  }

 private:
  void check_options() const {
    if (flat_ && nlist_) misuse("--flat and --nlist contradict each other: a flat index has no lists");
    if (flat_ && (train_n_ || iterations_ || init_))
      misuse("--flat: there is nothing to train; drop the training options");
    if (flat_) device_.require_none("--flat: there is nothing to compute");
    if (!flat_ && !nlist_) misuse("--nlist is missing: how many lists should there be? (or --flat for none)");
    if (parse_destination(index_).pipe())
      misuse("-o {}: an index is a file that is changed in place; name a file", index_);
  }

  SaveOptions save_options(const Context& context) const {
    SaveOptions options;
    options.compress = compress_;
    options.replace = force_;
    options.threads = context.options.threads;
    return options;
  }

  int create_flat(Context& context, const RowSource& source, Metric metric) {
    IndexFlat(source.dim(), metric).save(index_, save_options(context));
    if (context.options.json) {
      print_json({{"index", index_}, {"flat", true}, {"metric", metric_name(metric)}, {"dim", source.dim()}});
    }
    context.console.note(fmt::format("{}: flat index, {} dimensions, {}", index_, source.dim(), metric_name(metric)));
    return exit_done;
  }

  int train(Context& context, RowSource& source, Metric metric) {
    IndexIVFFlat index(source.dim(), *nlist_, metric);
    index.to(device_.placement());  // Before anything is read: a device that is missing is said at once.
    const Sample sample = read_sample(context, source);
    TrainParams params;
    static_cast<RunOptions&>(params) = context.options.run(context.console.callback());
    params.seed = seed_;
    params.iterations = static_cast<unsigned>(iterations_.value_or(params.iterations));
    params.init = init_.value_or(params.init);
    const Stopwatch watch;
    const TrainReport report = index.train(MatrixView(sample.rows.data(), sample.count, source.dim()), params);
    const double milliseconds = watch.milliseconds();
    index.save(index_, save_options(context));
    forget_signals();

    context.console.clear();
    for (std::size_t i = 0; i < report.objective.size(); ++i) {
      context.console.detail(fmt::format("iteration {:>3}  objective {:.9g}", i + 1, report.objective[i]));
    }
    if (context.options.json) {
      print_json({{"index", index_},
                  {"flat", false},
                  {"metric", metric_name(metric)},
                  {"dim", source.dim()},
                  {"nlist", *nlist_},
                  {"train_n", sample.count},
                  {"rows_offered", sample.offered},
                  {"seed", params.seed},
                  {"iterations", params.iterations},
                  {"init", params.init == KMeansInit::random ? "random" : "kmeans++"},
                  {"objective", report.objective},
                  {"imbalance", report.imbalance},
                  {"splits", report.splits},
                  {"device", index.device().name},
                  {"backend", index.device().backend},
                  {"train_ms", milliseconds}});
    }
    context.console.note(fmt::format("{}: {} lists of {} dimensions, {}, trained on {} in {}, imbalance {:.3g}", index_,
                                     grouped(*nlist_), source.dim(), metric_name(metric), counted(sample.count, "row"),
                                     human_time(milliseconds), report.imbalance));
    return exit_done;
  }

  Sample read_sample(Context& context, RowSource& source) const {
    const std::uint64_t wanted = train_n_.value_or(default_sample(*nlist_));
    // The sample is the one thing that must be in memory as a whole.
    if (context.options.max_memory) {
      const std::uint64_t rows = source.known_rows() ? std::min(*source.known_rows(), wanted) : wanted;
      const std::uint64_t fit = *context.options.max_memory / (source.dim() * sizeof(float));
      if (rows > fit) {
        misuse("--max-memory: {} rows of {} dimensions to learn from do not fit {}; allow {} or give --train-n {}",
               rows, source.dim(), human_bytes(*context.options.max_memory),
               human_bytes(rows * source.dim() * sizeof(float)), fit);
      }
    }
    Sample sample = draw_sample(source, wanted, seed_, context.console);
    if (sample.count == 0) misuse("{}: holds no rows to learn from", source.name());
    if (sample.count < *nlist_) {
      misuse("{}: {} cannot make {} lists; give a --nlist of at most {}", source.name(), counted(sample.count, "row"),
             *nlist_, sample.count);
    }
    if (sample.count < rows_per_list_needed * *nlist_) {
      context.console.warn(fmt::format("{} for {}: at least {} a list ({}) make good centroids",
                                       counted(sample.count, "training row"), counted(*nlist_, "list"),
                                       rows_per_list_needed, rows_per_list_needed * *nlist_));
    }
    return sample;
  }

  std::string data_, index_;
  std::optional<std::uint64_t> nlist_, train_n_, iterations_;
  std::uint64_t seed_ = TrainParams().seed;
  std::optional<Metric> metric_;
  std::optional<KMeansInit> init_;
  RowRange range_;
  DeviceOptions device_;
  bool flat_ = false, compress_ = false, force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_train() { return std::make_unique<Train>(); }

}  // namespace ivf::cli

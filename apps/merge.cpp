// ivf merge: makes one index of several.

#include "command.h"
#include "device_options.h"
#include "ivf/maintenance.hpp"
#include "message.h"
#include "rewrite.h"
#include "rows.h"
#include "signals.h"
#include "summary.h"

namespace ivf::cli {
namespace {

const Choices<MergeIds> id_choices = {
    {"unique", MergeIds::unique}, {"keep", MergeIds::keep}, {"shift", MergeIds::shift}};

class Merge final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Make one index of several, of one metric and dimension. It has the centroids of the first: rows of indexes "
        "with the same centroids are copied, others are assigned to its lists. Removed rows are left out.",
        R"(Examples:
  ivf merge all.ivf monday.ivf tuesday.ivf
  ivf merge all.ivf shop-a.ivf shop-b.ivf --ids shift --json
  ivf merge all.ivf old.ivf new.ivf --retrain --nlist 4k
)");
    options.argument("OUT", out_, "Index file to create");
    options.arguments("INDEX", indexes_, "Index files to read");
    options.group("Merge options");
    options
        .choice<MergeIds>(
            "--ids", ids_, "HOW",
            "unique: kept, and refused when two indexes hold the same one; keep: kept, whatever they are; "
            "shift: those of each index raised by the next id of the ones before it",
            id_choices)
        .shows("unique");
    options.flag("--retrain", retrain_, "Learn new centroids from a sample of all rows, and assign all of them anew");
    options.group("Output options");
    settings_.define(options, force_);
    options.group("Training options (with --retrain)");
    options.count("--nlist", nlist_, "N", "Number of lists (centroids)", 1, 1u << 20).shows("as the first index");
    options.training(train_n_, iterations_, init_);
    options.count("--seed", seed_, "N", "Seed of every random choice", 0, UINT64_MAX).shows("1234");
    device_.define(options);
  }

  int run(Context& context) override {
    MergeOptions options;
    static_cast<RewriteOptions&>(options) = settings_.read(context.options, context.console.callback());
    options.ids = ids_;
    options.placement = device_.placement();
    options.retrain = retraining();
    check_index_destination(out_, force_);
    const Stopwatch watch;
    const MergeReport report = merge_indexes(out_, indexes_, options);
    forget_signals();
    context.console.clear();
    const double milliseconds = watch.milliseconds();
    if (context.options.json) {
      Json summary{{"index", out_},
                   {"merged", indexes_},
                   {"nb", report.rows},
                   {"dropped", report.dropped},
                   {"reassigned", report.reassigned},
                   {"ids", choice_name(ids_, id_choices)},
                   {"id_offsets", report.id_offsets},
                   {"bytes_after", report.bytes_after}};
      if (report.training) {
        summary["train_n"] = report.training->rows;
        summary["objective"] = report.training->objective;
        summary["imbalance"] = report.training->imbalance;
      }
      summary["merge_ms"] = milliseconds;
      print_json(summary);
    }
    std::string text = fmt::format("{}: {} of {}{}", out_, counted(report.rows, "row"),
                                   counted(indexes_.size(), "index", "indexes"), dropped_text(report));
    if (report.reassigned > 0) text += fmt::format(", {} assigned to lists anew", grouped(report.reassigned));
    context.console.note(fmt::format("{}; {} in {}", text, human_bytes(report.bytes_after), human_time(milliseconds)));
    return exit_done;
  }

 private:
  std::optional<Retraining> retraining() const {
    if (!retrain_) {
      if (nlist_ || train_n_ || iterations_ || init_ || seed_) misuse("training options need --retrain");
      return std::nullopt;
    }
    Retraining result;
    const IndexInfo first = load_index(indexes_.front())->info();
    if (!nlist_ && first.flat)
      misuse("--retrain: {} is flat; say how many lists there should be: --nlist", indexes_.front());
    result.nlist = static_cast<std::size_t>(nlist_.value_or(first.nlist));
    result.sample = train_n_.value_or(default_sample(result.nlist));
    result.iterations = static_cast<unsigned>(iterations_.value_or(result.iterations));
    result.init = init_.value_or(result.init);
    result.seed = seed_.value_or(result.seed);
    return result;
  }

  std::string out_;
  std::vector<std::string> indexes_;
  MergeIds ids_ = MergeIds::unique;
  RewriteSettings settings_;
  std::optional<std::uint64_t> nlist_, train_n_, iterations_, seed_;
  std::optional<KMeansInit> init_;
  DeviceOptions device_;
  bool retrain_ = false, force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_merge() { return std::make_unique<Merge>(); }

}  // namespace ivf::cli

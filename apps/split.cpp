// ivf split: makes several indexes of one.

#include <filesystem>

#include "command.h"
#include "ivf/format/container.hpp"
#include "ivf/maintenance.hpp"
#include "message.h"
#include "rewrite.h"
#include "signals.h"
#include "staged.h"
#include "summary.h"

namespace ivf::cli {
namespace {

constexpr std::uint64_t most_shards = 256;  // Each is an open file until all are written.
const Choices<SplitBy> by_choices = {{"row", SplitBy::row}, {"list", SplitBy::list}};

class Split final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Make several indexes of one: PREFIX-0.ivf, PREFIX-1.ivf, ... Each has all centroids and a part of the rows. "
        "What the shards find for a query with the same -k and --nprobe, merged by distance and id, is what the whole "
        "index finds, to the last bit. No file appears before all are written.",
        R"(Examples:
  ivf split base.ivf --shards 4 --out shard
  ivf split base.ivf --shards 2 --by list --out /data/base
)");
    options.argument("INDEX", index_, "Index file");
    options.group("Split options");
    options.count("--shards", shards_, "N", "Number of indexes to make", 1, most_shards).required();
    options
        .choice<SplitBy>("--by", by_, "WHAT",
                         "row: dealt out one by one, so that each shard has a part of every list; list: list l goes to "
                         "shard l mod N",
                         by_choices)
        .shows("row");
    options.group("Output options");
    options.text("-o,--out", prefix_, "PREFIX", "How the files are called, before -0.ivf").required();
    settings_.define(options, force_);
  }

  int run(Context& context) override {
    SplitOptions options;
    static_cast<RewriteOptions&>(options) = settings_.read(context.options, context.console.callback());
    options.by = by_;
    std::vector<std::string> outs, temporary;
    for (std::uint64_t i = 0; i < shards_; ++i) {
      outs.push_back(fmt::format("{}-{}.ivf", prefix_, i));
      check_index_destination(outs.back(), force_);
      std::error_code ignored;
      if (std::filesystem::equivalent(index_, outs.back(), ignored))
        misuse("{}: is the index that is split; name another PREFIX", outs.back());
    }
    // Until the shards are in place, nobody commits to a file that one of them replaces.
    std::vector<std::unique_ptr<format::WriteLock>> locks;
    for (const std::string& out : outs) locks.push_back(format::WriteLock::take(out));
    StagedFiles staged;
    for (const std::string& out : outs) temporary.push_back(staged.stage(out));
    const Stopwatch watch;
    const auto reports = split_index(index_, temporary, options);
    throw_if_interrupted();
    staged.publish();
    forget_signals();
    context.console.clear();
    const double milliseconds = watch.milliseconds();
    if (context.options.json) {
      Json shards = Json::array();
      for (std::size_t i = 0; i < outs.size(); ++i) {
        shards.push_back({{"index", outs[i]}, {"nb", reports[i].rows}, {"bytes", reports[i].bytes_after}});
      }
      print_json({{"index", index_},
                  {"by", choice_name(by_, by_choices)},
                  {"dropped", reports.front().dropped},
                  {"shards", shards},
                  {"split_ms", milliseconds}});
    }
    std::uint64_t rows = 0;
    for (const RewriteReport& report : reports) rows += report.rows;
    context.console.note(fmt::format("{}: {} in {}, {} to {}{}, in {}", index_, counted(rows, "row"),
                                     counted(shards_, "shard"), outs.front(), outs.back(),
                                     dropped_text(reports.front()), human_time(milliseconds)));
    return exit_done;
  }

 private:
  std::string index_, prefix_;
  std::uint64_t shards_ = 1;
  SplitBy by_ = SplitBy::row;
  RewriteSettings settings_;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_split() { return std::make_unique<Split>(); }

}  // namespace ivf::cli

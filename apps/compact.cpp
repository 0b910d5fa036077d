// ivf compact: writes an index anew, as one segment without removed rows.

#include "command.h"
#include "ivf/maintenance.hpp"
#include "message.h"
#include "rewrite.h"
#include "signals.h"
#include "summary.h"

namespace ivf::cli {
namespace {

class Compact final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Write an index anew: rows that were removed are left out, and all others become one segment. The new file "
        "takes the place of the old one in a single step at the end; who has the old one open keeps it, and nobody "
        "else can write to it meanwhile. Searches find the same as before.",
        R"(Examples:
  ivf compact base.ivf
  ivf compact base.ivf --out small.ivf --compress
  ivf compact base.ivf --sort && sha256sum base.ivf
)");
    options.argument("INDEX", index_, "Index file");
    options.group("Output options");
    options.text("-o,--out", out_, "INDEX", "Write another file, and leave this one").shows("INDEX itself");
    options.flag("--sort", sort_,
                 "Sort the rows of each list by id: equal contents give equal bytes. Numbering goes on behind the "
                 "largest id");
    settings_.define(options, force_);
  }

  int run(Context& context) override {
    CompactOptions options;
    static_cast<RewriteOptions&>(options) = settings_.read(context.options, context.console.callback());
    options.sort = sort_;
    if (out_.empty()) {
      options.replace = true;
    } else {
      check_index_destination(out_, force_);
    }
    const std::string& out = out_.empty() ? index_ : out_;
    const Stopwatch watch;
    const RewriteReport report = compact_index(index_, out, options);
    forget_signals();
    context.console.clear();
    const double milliseconds = watch.milliseconds();
    if (context.options.json) {
      print_json({{"index", index_},
                  {"out", out},
                  {"nb", report.rows},
                  {"dropped", report.dropped},
                  {"segments_before", report.segments},
                  {"bytes_before", report.bytes_before},
                  {"bytes_after", report.bytes_after},
                  {"sorted", sort_},
                  {"compact_ms", milliseconds}});
    }
    context.console.note(fmt::format("{}: {} from {}{}; {} before, {} now, in {}", out, counted(report.rows, "row"),
                                     counted(report.segments, "segment"), dropped_text(report),
                                     human_bytes(report.bytes_before), human_bytes(report.bytes_after),
                                     human_time(milliseconds)));
    return exit_done;
  }

 private:
  std::string index_, out_;
  RewriteSettings settings_;
  bool sort_ = false, force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_compact() { return std::make_unique<Compact>(); }

}  // namespace ivf::cli

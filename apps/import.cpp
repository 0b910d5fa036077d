// ivf import: an index of what another program has saved.

#include "command.h"
#include "destination.h"
#include "device_options.h"
#include "ivf/interchange.hpp"
#include "message.h"
#include "signals.h"
#include "summary.h"

namespace ivf::cli {
namespace {

class Import final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Make an index of a file of faiss: an IndexIVFFlat or IndexFlat of L2 or inner product, or an IndexIDMap "
        "around an IndexFlat. Ids and the order of rows are kept; each row goes to the list of its nearest centroid, "
        "which faiss, rounding differently, may rarely have seen elsewhere.",
        R"(Examples:
  ivf import --faiss base.faiss base.ivf
  ivf import --faiss unit.faiss unit.ivf --metric cosine --compress
)");
    options.argument("INDEX", index_, "Index file to create");
    options.group("Input options");
    options.text("--faiss", faiss_, "FILE", "File written by faiss::write_index").required();
    options.group("Index options");
    options
        .choice<Metric>("--metric", metric_, "NAME", "How vectors compare; cosine is for an index of inner products",
                        {{"l2", Metric::l2}, {"ip", Metric::ip}, {"cosine", Metric::cosine}})
        .shows("that of FILE");
    options.flag("--compress", compress_, "Store rows as zstd frames: a smaller file, more memory when opened");
    options.force(force_);
    device_.define(options);
  }

  int run(Context& context) override {
    if (parse_destination(index_).pipe())
      misuse("{}: an index is a file that is changed in place; name a file", index_);
    if (faiss_ == "-") misuse("--faiss: a pipe cannot be read in more than one place; name a file");
    check_destination({index_, index_}, force_);
    ImportOptions options;
    static_cast<RunOptions&>(options) = context.options.run(context.console.callback());
    options.compress = compress_;
    options.replace = force_;
    options.metric = metric_;
    options.placement = device_.placement();
    const Stopwatch watch;
    const ImportReport report = import_faiss(faiss_, index_, options);
    forget_signals();
    context.console.clear();
    const double milliseconds = watch.milliseconds();
    if (report.other_quantizer) {
      context.console.warn(fmt::format("{}: compares rows by {} but chose their lists by {}; here both are {}", faiss_,
                                       report.metric == Metric::l2 ? "L2" : "inner product",
                                       report.metric == Metric::l2 ? "inner product" : "L2",
                                       metric_name(report.metric)));
    }
    if (context.options.json) {
      print_json({{"index", index_},
                  {"faiss", faiss_},
                  {"type", report.type},
                  {"metric", metric_name(report.metric)},
                  {"dim", report.dim},
                  {"nlist", report.nlist},
                  {"nb", report.rows},
                  {"moved", report.moved},
                  {"normalized", report.normalized},
                  {"import_ms", milliseconds}});
    }
    std::string text = fmt::format("{}: {} of {} dimensions, {}, from an {}", index_, counted(report.rows, "row"),
                                   report.dim, metric_name(report.metric), report.type);
    if (report.moved > 0) text += fmt::format("; {} moved to a nearer list", counted(report.moved, "row"));
    if (report.normalized > 0) text += fmt::format("; {} normalised", counted(report.normalized, "row"));
    context.console.note(fmt::format("{} in {}", text, human_time(milliseconds)));
    return exit_done;
  }

 private:
  std::string index_, faiss_;
  std::optional<Metric> metric_;
  DeviceOptions device_;
  bool compress_ = false, force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_import() { return std::make_unique<Import>(); }

}  // namespace ivf::cli

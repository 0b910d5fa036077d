// ivf remove: takes rows out of an index, in one commit.

#include "command.h"
#include "id_list.h"
#include "ivf/index.hpp"
#include "message.h"
#include "signals.h"
#include "summary.h"

namespace ivf::cli {
namespace {

class Remove final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Remove rows from an index by their ids. Searches do not find them any more, as if they had never been added; "
        "all of them go in one commit, and a removal that fails or is killed leaves the index as it was. The rows "
        "keep their place in the file until `ivf compact` writes it anew. Ids that no row has are passed over.",
        R"(Examples:
  ivf remove base.ivf --ids 17
  ivf remove base.ivf --ids 0-999,5000
  ivf remove base.ivf --ids withdrawn.txt
  ivf remove base.ivf --ids withdrawn.npy --dry-run
  sqlite3 shop.db 'select id from sold' | ivf remove base.ivf --ids -
)");
    options.argument("INDEX", index_, "Index file");
    options.group("Removal options");
    options
        .text("--ids", ids_, "IDS|FILE",
              "Ids and ranges (5,9,100-199), or a file of them: text, .npy, .ivecs, .h5:name")
        .required();
    options.flag("--dry-run", dry_run_, "Say how many rows would go, and remove none");
  }

  int run(Context& context) override {
    const Stopwatch watch;
    const IdSet ids = read_id_set(ids_, context.options.memory() / 2);
    FileAppender appender(index_, context.options.run(context.console.callback()));
    throw_if_interrupted();
    const std::uint64_t removed = appender.remove(ids);
    throw_if_interrupted();
    if (removed > 0 && !dry_run_) appender.commit();
    forget_signals();
    const double milliseconds = watch.milliseconds();
    if (context.options.json) {
      print_json({{"index", index_},
                  {"removed", removed},
                  {"dry_run", dry_run_},
                  {"nb", appender.size()},
                  {"remove_ms", milliseconds}});
    }
    context.console.note(fmt::format("{}: {} {} in {}, {} left", index_, dry_run_ ? "would remove" : "removed",
                                     counted(removed, "row"), human_time(milliseconds), grouped(appender.size())));
    return exit_done;
  }

 private:
  std::string index_, ids_;
  bool dry_run_ = false;
};

}  // namespace

std::unique_ptr<Command> make_remove() { return std::make_unique<Remove>(); }

}  // namespace ivf::cli

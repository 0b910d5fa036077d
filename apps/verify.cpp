// ivf verify: checks that an index file is sound.

#include "command.h"
#include "ivf/format/container.hpp"
#include "ivf/index.hpp"
#include "message.h"
#include "stdout.h"
#include "summary.h"

namespace ivf::cli {
namespace {

class Verify final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Check an index file: its structure, every checksum, that values are finite, norms and radii right, and that "
        "each row lies in the list of its nearest centroid. Exit code 3: it cannot be opened as an index; 4: it can, "
        "but what it holds is damaged.",
        R"(Examples:
  ivf verify sift.ivf
  ivf verify sift.ivf --quick && echo fine
)");
    options.argument("INDEX", index_, "Index file");
    options.group("Check options");
    options.flag("--quick", quick_, "Check the structure only: sizes, offsets and counts");
  }

  int run(Context& context) override {
    const Stopwatch watch;
    const auto file = format::Snapshot::open(index_, 1);
    verify_index(index_, false, context.options.run(Console::interrupt_only()));
    std::string damage;
    if (!quick_) damage = find_damage(context);
    if (context.options.json) {
      Json record{{"index", index_},
                  {"sound", damage.empty()},
                  {"quick", quick_},
                  {"nb", file->rows() - file->removed()},
                  {"removed", file->removed()},
                  {"generation", file->generation()},
                  {"verify_ms", watch.milliseconds()}};
      if (!damage.empty()) record["damage"] = damage;
      print_json(record);
    } else if (damage.empty()) {
      const std::string removed =
          file->removed() == 0 ? std::string() : fmt::format(" and {} removed", grouped(file->removed()));
      print_line(fmt::format("{}: sound ({}{}, generation {}{})", index_,
                             counted(file->rows() - file->removed(), "row"), removed, file->generation(),
                             quick_ ? ", structure only" : ""));
    }
    if (damage.empty()) return exit_done;
    context.console.error(damage);
    return exit_check_failed;
  }

 private:
  std::string find_damage(Context& context) const {
    try {
      verify_index(index_, true, context.options.run(context.console.callback()));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt) throw;
      return error.what();
    }
    return {};
  }

  std::string index_;
  bool quick_ = false;
};

}  // namespace

std::unique_ptr<Command> make_verify() { return std::make_unique<Verify>(); }

}  // namespace ivf::cli

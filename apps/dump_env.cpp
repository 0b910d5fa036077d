// ivf dump-env: what could change a result or a timing.

#include "bench/environment.h"
#include "command.h"
#include "destination.h"
#include "device_options.h"
#include "ivf/format/output_file.hpp"
#include "message.h"
#include "stdout.h"
#include "summary.h"
#include "version.h"

namespace ivf::cli {
namespace {

class DumpEnv final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Print, as JSON, everything that could change a result or a timing: the machine, the instruction sets found "
        "and used, devices, memory, limits, compiler, libraries and the environment variables that matter "
        "(docs/environment.schema.json). What cannot be read is null. --json puts it on one line.",
        R"(Examples:
  ivf dump-env
  ivf dump-env --out env.json
  ivf dump-env | jq .isa
)");
    options.group("Output options");
    options.text("--out", out_, "FILE", "Write it to this file");
    options.force(force_);
    options.group("Device options");
    define_torch_plugin(options, torch_plugin_);
  }

  int run(Context& context) override {
    if (!out_.empty()) check_destination({out_, out_}, force_);
    const Json environment = bench::environment({version(), commit(), compiler()}, torch_plugin_);
    const std::string text = (context.options.json ? to_line(environment)
                                                   : environment.dump(2, ' ', false, Json::error_handler_t::replace)) +
                             "\n";
    if (out_.empty() || out_ == "-") {
      Stdout out;
      out.write(text);
      out.flush();
      return exit_done;
    }
    format::OutputFile file(out_);
    file.write(text.data(), text.size());
    file.commit();
    context.console.note(fmt::format("environment written to {}", out_));
    return exit_done;
  }

 private:
  std::string out_, torch_plugin_;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_dump_env() { return std::make_unique<DumpEnv>(); }

}  // namespace ivf::cli

// The ivf executable: chooses the subcommand and turns what happens into messages and exit codes.

#include <algorithm>
#include <csignal>
#include <exception>
#include <map>
#include <new>

#include <CLI/CLI.hpp>

#include "command.h"
#include "help.h"
#include "signals.h"
#include "stdout.h"
#include "version.h"

namespace ivf::cli {
namespace {

constexpr const char* program_footer =
    R"(Data are named by path; the extension tells the format:
  .fvecs .bvecs .ivecs .fbin .u8bin .i8bin .ibin .npy .h5 .hdf5
  file.h5:name            a data set of an HDF5 file (ann-benchmarks' names else)
  fvecs:FILE              any other name, with its format in front
  -, fvecs:-, npy:-       a pipe (fvecs when silent)
  gaussian:n=1000,d=64    generated; also uniform: and clustered: (seed=N)

Exit codes: 0 done, 1 failed, 2 misuse, 3 corrupt or unreadable data, 4 a check
said no (verify, compare, eval and search with --min-recall, search --verify).

`ivf COMMAND --help` explains a command and shows examples.
)";

std::string version_text() { return fmt::format("ivf {} (commit {}, {})", version(), commit(), compiler()); }

/// `ivf help` and `ivf help COMMAND` are other words for --help.
std::vector<std::string> arguments(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words.front() == "help") {
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  return words;
}

/// Help for a command that does not exist is misuse, too.
void refuse_unknown_command(const CLI::App& program) {
  if (program.get_subcommands().empty() && !program.remaining().empty()) {
    misuse("{}", explain(CLI::ExtrasError({}), program));
  }
}

int run_command(Context& context, int argc, char** argv) {
  CLI::App program("Exact and inverted-file vector search: the same bits on every machine.", "ivf");
  program.formatter(std::make_shared<HelpFormatter>());
  program.option_defaults()->group("Options");
  program.set_help_flag("-h,--help", "Show help")->group("Options");
  program.set_version_flag("-V,--version", version_text, "Show version, commit and compiler")->group("Options");
  OptionSet(program).common(context.options);
  program.require_subcommand(1);
  program.footer(program_footer);

  std::map<const CLI::App*, std::unique_ptr<Command>> commands;
  for (const CommandEntry& item : command_table()) {
    CLI::App* app = program.add_subcommand(item.name);
    OptionSet options(*app);
    auto command = item.make();
    command->define(options);
    options.common(context.options);
    app->set_help_flag("-h,--help", "Show this help")->group("Common options");
    commands.emplace(app, std::move(command));
  }

  std::vector<std::string> words = arguments(argc, argv);
  std::reverse(words.begin(), words.end());  // As CLI11 wants them.
  try {
    program.parse(words);
  } catch (const CLI::CallForHelp&) {
    refuse_unknown_command(program);
    Stdout out;
    out.write(program.help());
    out.flush();
    return exit_done;
  } catch (const CLI::CallForVersion&) {
    print_line(version_text());
    return exit_done;
  } catch (const CLI::ParseError& error) {
    misuse("{}", explain(error, program));
  }
  if (context.options.quiet && context.options.verbose) misuse("--quiet and --verbose contradict each other");
  context.console.configure(context.options);
  return commands.at(program.get_subcommands().front())->run(context);
}

/// Runs and reports. Destructors have removed what was unfinished by the time a message is printed.
int guarded_main(int argc, char** argv) {
  Console console;
  int code = exit_failed;
  try {
    Context context{{}, console};
    code = run_command(context, argc, argv);
    close_stdout();
    console.clear();
    return code;
  } catch (const Interrupted&) {
  } catch (const Error& error) {
    code = static_cast<int>(error.kind());
    if (!pending_signal() && !pipe_closed()) console.error(error.what());
  } catch (const std::bad_alloc&) {
    code = exit_failed;
    console.error("out of memory; a smaller --max-memory makes the working set smaller");
  } catch (const std::exception& error) {
    code = exit_failed;
    console.error(fmt::format("unexpected: {}", error.what()));
  }
  if (const int signal = pending_signal()) {
    console.error(fmt::format("stopped by {}; no file was written or changed: the same command can be run again",
                              signal_name(signal)));
    die_by_signal(signal);
  }
  // Whoever read our output has seen enough: end as every other tool of a pipeline does.
  if (pipe_closed()) die_by_signal(SIGPIPE);
  return code;
}

}  // namespace
}  // namespace ivf::cli

int main(int argc, char** argv) {
  ivf::cli::ensure_standard_streams();
  ivf::cli::install_signal_handlers();
  return ivf::cli::guarded_main(argc, argv);
}

// The ivf executable: chooses the subcommand and turns what happens into messages and exit codes.

#include <malloc.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <new>

#include <CLI/CLI.hpp>

#include "command.h"
#include "help.h"
#include "program.h"
#include "signals.h"
#include "stdout.h"

namespace ivf::cli {
namespace {

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
void refuse_unknown_command(const CLI::App& parser) {
  if (parser.get_subcommands().empty() && !parser.remaining().empty()) {
    misuse("{}", explain(CLI::ExtrasError({}), parser));
  }
}

int run_command(Context& context, int argc, char** argv) {
  Program program(context.options);
  CLI::App& parser = program.parser();
  std::vector<std::string> words = arguments(argc, argv);
  std::reverse(words.begin(), words.end());  // As CLI11 wants them.
  try {
    parser.parse(words);
  } catch (const CLI::CallForHelp&) {
    refuse_unknown_command(parser);
    Stdout out;
    out.write(parser.help());
    out.flush();
    return exit_done;
  } catch (const CLI::CallForVersion&) {
    print_line(version_text());
    return exit_done;
  } catch (const CLI::ParseError& error) {
    misuse("{}", explain(error, parser));
  }
  if (context.options.quiet && context.options.verbose) misuse("--quiet and --verbose contradict each other");
  context.console.configure(context.options);
  return program.chosen().run(context);
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
    console.error(fmt::format("stopped by {}; {}", signal_name(signal), console.left_behind()));
    die_by_signal(signal);
  }
  // Whoever read our output has seen enough: end as every other tool of a pipeline does.
  if (pipe_closed()) die_by_signal(SIGPIPE);
  return code;
}

/// Large blocks come from the system and go back to it. The C library would learn from the first one that is freed to
/// keep them in its heap, and the holes there would come on top of --max-memory: half as much again, on some runs.
void keep_large_blocks_out_of_the_heap() {
#ifdef M_MMAP_THRESHOLD
  mallopt(M_MMAP_THRESHOLD, 4 << 20);
#endif
}

}  // namespace
}  // namespace ivf::cli

int main(int argc, char** argv) {
  ivf::cli::keep_large_blocks_out_of_the_heap();
  ivf::cli::ensure_standard_streams();
  ivf::cli::install_signal_handlers();
  return ivf::cli::guarded_main(argc, argv);
}

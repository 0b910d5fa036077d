#include "program.h"

#include "help.h"
#include "version.h"

namespace ivf::cli {
namespace {

constexpr const char* data_by_name =
    R"(Data are named by path; the extension tells the format:
  .fvecs .bvecs .ivecs .fbin .u8bin .i8bin .ibin .npy .h5 .hdf5
  file.h5:name            a data set of an HDF5 file (ann-benchmarks' names else)
  fvecs:FILE              any other name, with its format in front
  -, fvecs:-, npy:-       a pipe (fvecs when silent)
  gaussian:n=1000,d=64    generated; also uniform: and clustered: (seed=N)
)";

std::string footer() {
  std::string codes;
  for (const ExitCodeText& item : exit_codes()) {
    codes += fmt::format("{}{} {}", codes.empty() ? "Exit codes: " : ", ", static_cast<int>(item.code), item.meaning);
  }
  return fmt::format("{}\n{}\n\n`ivf COMMAND --help` explains a command and shows examples.\n", data_by_name,
                     wrap(codes + ".", 0));
}

}  // namespace

Program::Program(CommonOptions& options)
    : app_("Exact and inverted-file vector search: the same bits on every machine.", "ivf") {
  app_.formatter(std::make_shared<HelpFormatter>());
  app_.option_defaults()->group("Options");
  app_.set_help_flag("-h,--help", "Show help")->group("Options");
  app_.set_version_flag("-V,--version", version_text, "Show version, commit and compiler")->group("Options");
  OptionSet(app_, words_).common(options);
  app_.require_subcommand(1);
  app_.footer(footer());

  for (const CommandEntry& item : command_table()) {
    CLI::App* app = app_.add_subcommand(item.name);
    OptionSet set(*app, words_);
    auto command = item.make();
    command->define(set);
    set.common(options);
    app->set_help_flag("-h,--help", "Show this help")->group("Common options");
    commands_.emplace(app, std::move(command));
  }
}

Command& Program::chosen() { return *commands_.at(app_.get_subcommands().front()); }

std::string version_text() { return fmt::format("ivf {} (commit {}, {})", version(), commit(), compiler()); }

}  // namespace ivf::cli

#include "options.h"

#include <CLI/CLI.hpp>

namespace ivf::cli {
namespace {

/// The name that messages call an option by: the long one where there is one.
std::string name_of(const std::string& names) {
  const auto comma = names.rfind(',');
  return comma == std::string::npos ? names : names.substr(comma + 1);
}

}  // namespace

RunOptions CommonOptions::run(Progress progress) const {
  RunOptions options;
  options.threads = threads;
  options.max_memory = memory();
  options.progress = std::move(progress);
  return options;
}

OptionSet::Option& OptionSet::Option::shows(const char* value) {
  option_->default_str(value);
  return *this;
}

OptionSet::Option& OptionSet::Option::required() {
  option_->required();
  return *this;
}

OptionSet::Option& OptionSet::Option::offers(std::vector<std::string> words) {
  (*words_)[option_] = {std::move(words), false};
  return *this;
}

OptionSet::Option& OptionSet::Option::offers_list(std::vector<std::string> words) {
  (*words_)[option_] = {std::move(words), true};
  return *this;
}

void OptionSet::describe(const char* description, const char* examples) {
  app_.description(description);
  app_.footer(examples);
}

OptionSet::Option OptionSet::argument(const char* name, std::string& target, const char* text) {
  return optional_argument(name, target, text).required();
}

OptionSet::Option OptionSet::optional_argument(const char* name, std::string& target, const char* text) {
  return Option(app_.add_option_function<std::string>(
                    name, [&target](const std::string& value) { target = value; }, text),
                words_);
}

OptionSet::Option OptionSet::arguments(const char* name, std::vector<std::string>& target, const char* text) {
  return Option(app_.add_option(name, target, text)->required(), words_);
}

void OptionSet::flag(const char* names, bool& target, const char* text) {
  app_.add_flag(names, target, text)->group(group_);
}

OptionSet::Option OptionSet::value(const char* names, const char* type, const char* text,
                                   std::function<void(std::string_view option, std::string_view value)> read) {
  auto take = [read = std::move(read), name = name_of(names)](const std::string& value) { read(name, value); };
  return Option(app_.add_option_function<std::string>(names, take, text)->type_name(type)->take_last()->group(group_),
                words_);
}

void OptionSet::row_range(RowRange& range) {
  count("--start", range.start, "N", "First row to read, from 0").shows("0");
  count("--count", range.count, "N", "Rows to read at most").shows("all");
}

void OptionSet::metric(std::optional<Metric>& metric) {
  choice<Metric>("--metric", metric, "NAME", "How vectors compare: l2, ip or cosine",
                 {{"l2", Metric::l2}, {"ip", Metric::ip}, {"cosine", Metric::cosine}})
      .shows("the attribute `distance` of an HDF5 file, else l2");
}

void OptionSet::force(bool& force) { flag("-f,--force", force, "Replace an output that exists"); }

void OptionSet::seed(std::uint64_t& seed) {
  count("--seed", seed, "N", "Seed of every random choice", 0, UINT64_MAX).shows("1234");
}

void OptionSet::min_recall(std::optional<double>& recall) {
  number("--min-recall", recall, "R", "Exit code 4 when recall@k is below R (0 to 1)", 0, 1);
}

void OptionSet::results(std::string& out, std::string& out_distances) {
  text("-o,--out", out, "FILE",
       "Where results go. Ids and distances: .tsv .jsonl .h5 gt:FILE; ids: .ivecs .ibin .npy; to a pipe: tsv:- "
       "jsonl:- table:- ivecs:- npy:-")
      .offers({"tsv:-", "jsonl:-", "table:-", "ivecs:-", "npy:-"});
  text("--out-distances", out_distances, "FILE", "Where distances go, when ids go elsewhere: .fvecs .fbin .npy");
}

void OptionSet::training(std::optional<std::uint64_t>& train_n, std::optional<std::uint64_t>& iterations,
                         std::optional<KMeansInit>& init) {
  count("--train-n", train_n, "N", "Rows to learn from, drawn at random", 1)
      .shows("256 a list up to 262144 in all, at least 40 a list");
  count("--iterations", iterations, "N", "Rounds of k-means", 1, 1000).shows("10");
  choice<KMeansInit>("--init", init, "HOW", "First centroids: random or kmeans++",
                     {{"random", KMeansInit::random}, {"kmeans++", KMeansInit::plus_plus}})
      .shows("random");
}

void OptionSet::common(CommonOptions& options) {
  group("Common options");
  value("--threads", "N", "Threads to use", [&options](std::string_view option, std::string_view text) {
    options.threads = static_cast<unsigned>(parse_count(option, text, 0, 4096));
  }).shows("0, all that the process may use");
  value("--max-memory", "SIZE", "Cap of the working memory, as in 512M or 2G",
        [&options](std::string_view option, std::string_view text) { options.max_memory = parse_bytes(option, text); })
      .shows("1G");
  flag("--json", options.json, "Print the summary as one JSON object on stdout");
  flag("-q,--quiet", options.quiet, "Only errors on stderr");
  flag("-v,--verbose", options.verbose, "Say more on stderr");
  flag("--no-progress", options.no_progress, "No progress bar");
}

}  // namespace ivf::cli

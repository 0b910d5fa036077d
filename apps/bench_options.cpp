#include "bench_options.h"

#include <algorithm>

#include "message.h"

namespace ivf::cli {
namespace {

const Choices<SearchMode> mode_choices = {
    {"auto", SearchMode::automatic}, {"matrix", SearchMode::matrix}, {"csr", SearchMode::csr}};
const Choices<Library> library_choices = {{"ivf", Library::ivf}, {"faiss", Library::faiss}};

/// Calls `take(word)` for each word of a list that is separated by commas.
template <class Take>
void each_word(std::string_view option, std::string_view text, const Take& take) {
  for (;;) {
    const auto comma = std::min(text.find(','), text.size());
    if (comma == 0) misuse("{}: a value is missing; values are separated by single commas, as in 1,8,32", option);
    take(text.substr(0, comma));
    if (comma == text.size()) return;
    text.remove_prefix(comma + 1);
  }
}

template <class T>
void add_once(std::vector<T>& values, T value, std::string_view option, std::string_view word) {
  if (std::find(values.begin(), values.end(), value) != values.end()) misuse("{}: '{}' is there twice", option, word);
  values.push_back(value);
}

/// One or several of `choices`.
template <class T>
std::vector<T> parse_choices(std::string_view option, std::string_view text, const Choices<T>& choices) {
  std::vector<T> values;
  each_word(option, text,
            [&](std::string_view word) { add_once(values, parse_choice(option, word, choices), option, word); });
  return values;
}

std::string names_of(const std::vector<SearchMode>& modes) {
  std::string names;
  for (const SearchMode mode : modes) names += fmt::format("{}{}", names.empty() ? "" : ",", bench::mode_name(mode));
  return names;
}

}  // namespace

std::vector<std::uint64_t> parse_counts(std::string_view option, std::string_view text, std::uint64_t min,
                                        std::uint64_t max) {
  std::vector<std::uint64_t> values;
  each_word(option, text,
            [&](std::string_view word) { add_once(values, parse_count(option, word, min, max), option, word); });
  return values;
}

void BenchOptions::define(OptionSet& set, const char* swept) {
  const std::string_view skipped = swept ? swept : "";
  const auto shown = [](std::uint64_t value) { return std::to_string(value); };
  const auto count = [&](const char* name, std::optional<std::uint64_t>& target, const char* help, std::uint64_t min,
                         std::uint64_t max, const std::string& value) {
    if (skipped != name) set.count(name, target, "N", help, min, max).shows(value.c_str());
  };
  modes = defaults.modes;

  set.group("Data options");
  set.text("--dataset", dataset, "FILE", "Vectors to index, in place of generated ones (and queries: `test` of HDF5)");
  set.text("--queries", queries, "FILE", "Vectors to look up, when the data set does not hold them");
  set.text("--index", index, "FILE", "Search this index in place of training one");
  count("--dim", dim, "Dimensions of generated vectors", 1, 65'536, shown(defaults.dim));
  count("--nb", nb, "Rows to index", 1, 1u << 31, shown(defaults.nb) + "; of a data set, all");
  count("--nq", nq, "Queries a batch", 1, 1u << 24, shown(defaults.nq) + ", or as many as there are");
  set.choice<DeviceType>("--dtype", dtype, "TYPE",
                         "float32, float16 or bfloat16: round vectors to it first, and let LibTorch keep them so",
                         dtype_choices())
      .shows("float32");
  count("--seed", seed_given, "Seed of every random choice", 0, UINT64_MAX, "1234");

  set.group("Index options");
  set.metric(metric);
  count("--nlist", nlist, "Lists", 1, 1u << 24, shown(defaults.nlist));
  count("--train-n", train_n, "Rows to train on, the first ones; 0: two a list", 0, 1u << 31, shown(defaults.train_n));

  set.group("Search options");
  count("--topk", topk, "Neighbours of each query", 1, 16'384, shown(defaults.topk));
  count("--nprobe", nprobe, "Lists to scan for each query", 1, INT64_MAX, shown(defaults.nprobe));
  if (skipped != "--max-codes") {
    set.count("--max-codes", max_codes, "N", "Rows to scan for each query at most; 0: no limit").shows("0");
  }
  set.value(
         "--search-mode", "MODES", "auto, matrix (by query), csr (by list), or several: matrix,csr",
         [this](std::string_view option, std::string_view text) { modes = parse_choices(option, text, mode_choices); })
      .shows(names_of(defaults.modes).c_str())
      .offers_list(choice_names(mode_choices));

  device.define(set, false);

  set.group("Measurement options");
  set.value("--library", "NAMES", "ivf, faiss, or both side by side: ivf,faiss",
            [this](std::string_view option, std::string_view text) {
              libraries = parse_choices(option, text, library_choices);
            })
      .shows("ivf")
      .offers_list(choice_names(library_choices));
  set.flag("--same-centroids", same_centroids, "Give faiss the centroids that ivf has trained");
  set.flag("--resident", resident, "Put queries on the device first, leave results there, and time what lies between");
  set.count("--warmup", warmup, "N", "Runs before the timed ones", 0, 1000).shows("1");
  set.count("--repeat", repeat, "N", "Timed runs", 1, 10'000).shows("5");
  set.count("--build-repeat", build_repeat, "N", "Times to train and add", 1, 1000).shows("1");
  set.count("--min-queries", min_queries_given, "N", "A run searches at least so many queries, in batches", 1, 1u << 24)
      .shows("256, or all with --ann-benchmarks");

  set.group("Output options");
  set.text("--out", out, "FILE", "Append the records to this file, as JSON lines");
  set.text("--ann-benchmarks", ann_benchmarks, "DIR",
           "Write result files for ann-benchmarks into its folder `results`");
  set.flag("-f,--force", force, "Replace such files that exist");
  set.text("--label", label, "TEXT", "Label of the records").shows("library and device: ivf_cpu, faiss_cpu");
}

Placement BenchOptions::placement() const {
  Placement place = device.placement();
  // Kernels of ivf lose nothing of such values anyway; an index has values of its own, which are not rounded.
  const bool native = device.native_cpu() || place.backend == BackendChoice::native;
  if (dtype && (!native || !index.empty())) place.dtype = *dtype;
  return place;
}

void BenchOptions::check() const {
  const auto refuse = [](bool given, const char* option, const char* other, const char* why) {
    if (given) misuse("{} and {} contradict each other: {}", option, other, why);
  };
  if (!index.empty()) {
    const char* why = "the index has its own";
    refuse(nb.has_value(), "--nb", "--index", why);
    refuse(nlist.has_value(), "--nlist", "--index", why);
    refuse(metric.has_value(), "--metric", "--index", why);
    refuse(train_n.has_value(), "--train-n", "--index", "an index that exists is not trained");
    refuse(build_repeat != 1, "--build-repeat", "--index", "an index that exists is not built");
    refuse(dim.has_value(), "--dim", "--index", why);
    refuse(dtype && runs(Library::faiss), "--dtype", "--index", "faiss keeps the values of the index");
    refuse(same_centroids, "--same-centroids", "--index", "faiss is given the lists of the index anyway");
  }
  refuse(!dataset.empty() && dim, "--dim", "--dataset", "the data set has its own");
  refuse(resident && runs(Library::faiss), "--resident", "--library faiss", "faiss is measured on the CPU");
  if (!runs(Library::ivf)) device.require_none("faiss is measured on the CPU");
  if (same_centroids && !(runs(Library::ivf) && runs(Library::faiss)))
    misuse("--same-centroids needs --library ivf,faiss");
}

}  // namespace ivf::cli

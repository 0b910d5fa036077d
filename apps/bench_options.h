#pragma once
/// \file
/// The options that `bench` and the sweeps share.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "device_options.h"
#include "options.h"

namespace ivf::cli {

/// What holds when an option is not given.
struct BenchDefaults {
  std::uint64_t dim = 128, nb = 262'144, train_n = 20'480, nq = 19'600, nlist = 512, nprobe = 32, topk = 20;
  std::vector<SearchMode> modes{SearchMode::automatic};
};

enum class Library { ivf, faiss };

struct BenchOptions {
  BenchDefaults defaults;
  std::string dataset, queries, index, out, label, ann_benchmarks;
  std::optional<std::uint64_t> dim, nb, train_n, nq, nlist, nprobe, topk, seed_given;
  std::optional<Metric> metric;
  std::optional<DeviceType> dtype;
  DeviceOptions device;
  std::vector<SearchMode> modes;
  std::vector<Library> libraries{Library::ivf};
  bool same_centroids = false, force = false, resident = false;
  std::uint64_t max_codes = 0, warmup = 1, repeat = 5, build_repeat = 1;
  std::optional<std::uint64_t> min_queries_given;

  std::uint64_t seed() const { return seed_given.value_or(1234); }
  bool runs(Library library) const { return std::find(libraries.begin(), libraries.end(), library) != libraries.end(); }
  /// Queries of a run at least. A result for ann-benchmarks is of all of them.
  std::uint64_t min_queries() const { return min_queries_given.value_or(ann_benchmarks.empty() ? 256 : 1u << 20); }
  std::uint64_t k() const { return topk.value_or(defaults.topk); }

  /// Where ivf computes. The device keeps rows in the type that they were rounded to.
  Placement placement() const;

  /// Options of the data and the index, of the search, and of the measurement. `swept` is the option that a list of
  /// values takes the place of, or null.
  void define(OptionSet& set, const char* swept);
  /// Refuses combinations that contradict each other.
  void check() const;
};

/// A list of whole numbers, separated by commas, none twice.
std::vector<std::uint64_t> parse_counts(std::string_view option, std::string_view text, std::uint64_t min,
                                        std::uint64_t max = INT64_MAX);

}  // namespace ivf::cli

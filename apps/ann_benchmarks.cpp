#include "ann_benchmarks.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "bench/names.h"
#include "bench/statistics.h"
#include "message.h"

namespace ivf::cli {
namespace {

namespace fs = std::filesystem;

/// As ann-benchmarks makes file names: what is no letter, digit or underscore becomes one underscore.
std::string file_name(const std::string& text) {
  std::string name;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (plain) {
      name += c;
    } else if (!name.empty() && name.back() != '_') {
      name += '_';
    }
  }
  return name;
}

std::string parameters(const bench::RunInfo& run, const bench::Measured& measured) {
  std::string text = fmt::format("nlist={}, nprobe={}", run.nlist, measured.settings.nprobe);
  if (measured.settings.max_codes != 0) text += fmt::format(", max_codes={}", measured.settings.max_codes);
  if (measured.library.library == "ivf") text += fmt::format(", mode={}", bench::mode_name(measured.settings.mode));
  if (measured.nq > 1) text += fmt::format(", nq={}", measured.nq);
  return text;
}

/// Results in its terms: missing ones are -1 at an infinite distance.
void put_results(const bench::RunInfo& run, const SearchResult& found, datasets::AnnBenchmarksResult& result) {
  std::uint64_t present = 0;
  for (std::size_t i = 0; i < found.ids.size(); ++i) {
    const idx_t id = found.ids[i];
    if (id > std::numeric_limits<std::int32_t>::max()) misuse("--ann-benchmarks: id {} does not fit its files", id);
    present += id >= 0 ? 1 : 0;
    result.neighbors.push_back(static_cast<std::int32_t>(id));
    result.distances.push_back(id >= 0 ? ann_benchmarks_distance(run.metric, found.distances[i])
                                       : std::numeric_limits<float>::infinity());
  }
  result.candidates = static_cast<double>(present) / static_cast<double>(found.nq);
}

}  // namespace

const char* ann_benchmarks_name(Metric metric) noexcept {
  switch (metric) {
    case Metric::l2:
      return "euclidean";
    case Metric::ip:
      return "dot";
    case Metric::cosine:
      return "angular";
  }
  return "unknown";
}

float ann_benchmarks_distance(Metric metric, float value) noexcept {
  switch (metric) {
    case Metric::l2:
      return std::sqrt(value);
    case Metric::ip:
      return value;
    case Metric::cosine:
      return 1.0f - value;
  }
  return value;
}

AnnBenchmarksFiles::AnnBenchmarksFiles(std::string directory, const bench::RunInfo& run, bool force)
    : directory_(std::move(directory)), force_(force) {
  // "DIR/sift-128-euclidean.hdf5:test" -> "sift-128-euclidean"
  const fs::path source = run.queries.substr(0, run.queries.rfind(':'));
  dataset_ = source.stem().string();
  if (!datasets::is_hdf5(run.queries)) {
    misuse("--ann-benchmarks: {} is none of its data sets; name its file, as in --dataset sift-128-euclidean.hdf5",
           run.queries);
  }
  if (run.metric == Metric::ip) misuse("--ann-benchmarks has the metrics euclidean (l2) and angular (cosine), not ip");
  std::error_code error;
  if (fs::exists(directory_, error) && !fs::is_directory(directory_, error)) {
    misuse("--ann-benchmarks: '{}' is no directory", directory_);
  }
}

void AnnBenchmarksFiles::add(const bench::RunInfo& run, const bench::Measured& measured) {
  const bench::Measurement& measurement = *measured.measurement;
  const std::size_t queries = measurement.result.nq;
  const auto repeat = static_cast<double>(run.protocol.repeat);
  datasets::AnnBenchmarksResult result;
  result.algorithm = measured.library.library == "ivf" ? "ivf" : "ivf-bench-faiss";
  result.name = fmt::format("{}({})", result.algorithm, parameters(run, measured));
  result.dataset = dataset_;
  result.distance = ann_benchmarks_name(run.metric);
  result.batch_mode = measured.nq > 1;
  result.count = measured.settings.k;
  result.run_count = run.protocol.repeat;
  result.best_search_time = bench::minimum(measurement.batch_ms) / 1e3 / static_cast<double>(measured.nq);
  if (!measured.build.add_ms.empty()) {
    const double train = measured.build.train_ms.empty() ? 0 : bench::median(measured.build.train_ms);
    result.build_time = (train + bench::median(measured.build.add_ms)) / 1e3;
  }
  result.index_size = static_cast<double>(measured.build.index_bytes) / 1024;
  if (measured.library.library == "ivf") {
    const double coarse = static_cast<double>(run.nlist) * static_cast<double>(queries);
    result.dist_comps = (static_cast<double>(measurement.result.stats.rows_scanned) + coarse) * repeat;
  }
  // The calls of the last run, whose results these are; the queries of a batch share its time equally.
  const std::size_t calls = measured.batches, first = measurement.latency_ms.size() - calls;
  for (std::size_t i = 0; i < queries; ++i) {
    const double call = measurement.latency_ms[first + i / measured.nq];
    result.times.push_back(static_cast<float>(call / 1e3 / static_cast<double>(measured.nq)));
  }
  put_results(run, measurement.result, result);
  const fs::path path = fs::path(directory_) / dataset_ / std::to_string(result.count) /
                        (result.algorithm + (result.batch_mode ? "-batch" : "")) /
                        (file_name(fmt::format("{}, {}", result.distance, parameters(run, measured))) + ".hdf5");
  if (fs::exists(path) && !force_) misuse("{}: exists; --force replaces it", path.string());
  results_[path.string()] = std::move(result);
}

std::size_t AnnBenchmarksFiles::write() const {
  for (const auto& [path, result] : results_) {
    std::error_code error;
    fs::create_directories(fs::path(path).parent_path(), error);
    if (error) failed("{}: cannot be created: {}", fs::path(path).parent_path().string(), error.message());
    datasets::write_ann_benchmarks(path, result);
  }
  return results_.size();
}

}  // namespace ivf::cli

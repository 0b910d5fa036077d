// Speed of ivf beside the installed faiss, on a data set in the ann-benchmarks layout:
//
//   ivf_compare_faiss DATA.h5 [nlist=256] [nprobe=16] [k=10] [threads=0] [nq=1,32,512,10000] [rounds=5]
//
// Both search the same lists: faiss is given the centroids that ivf trained. Each batch size is timed `rounds` times
// with the two taking turns, and the medians are printed as a Markdown table. Batches of few queries are repeated over
// different queries until they make 1000 queries (or until there are no more), so that a timing is not one lucky query.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFFlat.h>
#include <fmt/format.h>
#include <omp.h>

#include "ivf/datasets/datasets.hpp"
#include "ivf/index.hpp"

namespace {

using ivf::idx_t;

struct Settings {
  std::string data;
  std::size_t nlist = 256, nprobe = 16, k = 10, threads = 0, rounds = 5;
  std::vector<std::size_t> batches = {1, 32, 512, 10'000};
};

std::size_t parse_number(const std::string& text) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw ivf::Error(ivf::ErrorKind::misuse, fmt::format("'{}' is not a whole number", text));
  }
  return value;
}

Settings parse(int argc, char** argv) {
  if (argc < 2) throw ivf::Error(ivf::ErrorKind::misuse, "usage: ivf_compare_faiss DATA.h5 [NAME=VALUE...]");
  Settings settings;
  settings.data = argv[1];
  const std::map<std::string, std::size_t*> numbers = {{"nlist", &settings.nlist},
                                                       {"nprobe", &settings.nprobe},
                                                       {"k", &settings.k},
                                                       {"threads", &settings.threads},
                                                       {"rounds", &settings.rounds}};
  for (int i = 2; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    if (name == "nq") {
      settings.batches.clear();
      for (std::size_t at = 0; at <= value.size();) {
        const std::size_t comma = std::min(value.find(',', at), value.size());
        settings.batches.push_back(parse_number(value.substr(at, comma - at)));
        at = comma + 1;
      }
    } else if (const auto found = numbers.find(name); found != numbers.end()) {
      *found->second = parse_number(value);
    } else {
      throw ivf::Error(ivf::ErrorKind::misuse, fmt::format("unknown setting '{}'", name));
    }
  }
  if (settings.threads == 0) settings.threads = ivf::available_threads();
  return settings;
}

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Vectors of one role, normalised when the metric is cosine.
std::vector<float> load(const Settings& settings, ivf::datasets::Role role, ivf::Metric metric, std::size_t& dim) {
  const auto reader = ivf::datasets::open_reader(settings.data, {role, 0, {}});
  dim = reader->dim();
  std::vector<float> rows = ivf::datasets::read_all(*reader);
  if (metric == ivf::Metric::cosine) ivf::normalize_rows(rows.data(), rows.size() / dim, dim);
  return rows;
}

class Comparison {
 public:
  explicit Comparison(Settings settings)
      : settings_(std::move(settings)),
        metric_(ivf::datasets::stored_metric(settings_.data).value_or(ivf::Metric::l2)),
        base_(load(settings_, ivf::datasets::Role::base, metric_, dim_)),
        queries_(load(settings_, ivf::datasets::Role::queries, metric_, dim_)),
        ours_(dim_, settings_.nlist, metric_),
        quantizer_(static_cast<idx_t>(dim_), faiss_metric()),
        theirs_(&quantizer_, dim_, settings_.nlist, faiss_metric()) {
    omp_set_num_threads(static_cast<int>(settings_.threads));
    const std::size_t n = base_.size() / dim_;
    ivf::TrainParams train;
    train.threads = static_cast<unsigned>(settings_.threads);
    ours_.train({base_.data(), n, dim_}, train);
    ours_.add({base_.data(), n, dim_}, train);
    const std::vector<float> centroids = ours_.centroids();
    quantizer_.add(static_cast<idx_t>(settings_.nlist), centroids.data());
    theirs_.is_trained = true;
    theirs_.nprobe = settings_.nprobe;
    theirs_.add(static_cast<idx_t>(n), base_.data());
  }

  void print() {
    const std::size_t available = queries_.size() / dim_;
    fmt::print("{}: {} x {}, {} queries, nlist {}, nprobe {}, k {}, {} threads, isa {}\n\n", settings_.data,
               base_.size() / dim_, dim_, available, settings_.nlist, settings_.nprobe, settings_.k, settings_.threads,
               search({queries_.data(), 1, dim_}).stats.isa);
    fmt::print("| queries at once | ivf, queries a second | faiss, queries a second | ratio | same ids |\n");
    fmt::print("|---:|---:|---:|---:|---:|\n");
    for (const std::size_t batch : settings_.batches) measure(std::min(batch, available), available);
  }

 private:
  faiss::MetricType faiss_metric() const {
    return metric_ == ivf::Metric::l2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
  }

  ivf::SearchResult search(ivf::MatrixView queries) const {
    ivf::SearchParams params;
    params.threads = static_cast<unsigned>(settings_.threads);
    params.k = settings_.k;
    params.nprobe = settings_.nprobe;
    return ours_.search(queries, params);
  }

  void measure(std::size_t batch, std::size_t available) {
    const std::size_t batches = std::clamp<std::size_t>(1000 / batch, 1, available / batch);
    const std::size_t n = batch * batches, k = settings_.k;
    std::vector<idx_t> our_ids(n * k);
    std::vector<idx_t> their_ids(n * k);
    std::vector<float> their_distances(n * k);
    const auto ours = [&] {
      for (std::size_t at = 0; at < n; at += batch) {
        const ivf::SearchResult found = search({queries_.data() + at * dim_, batch, dim_});
        std::copy(found.ids.begin(), found.ids.end(), our_ids.begin() + static_cast<std::ptrdiff_t>(at * k));
      }
    };
    const auto theirs = [&] {
      for (std::size_t at = 0; at < n; at += batch) {
        theirs_.search(static_cast<idx_t>(batch), queries_.data() + at * dim_, static_cast<idx_t>(k),
                       their_distances.data() + at * k, their_ids.data() + at * k);
      }
    };
    std::vector<double> our_seconds, their_seconds;
    ours();
    theirs();
    for (std::size_t round = 0; round < settings_.rounds; ++round) {
      our_seconds.push_back(seconds(ours));
      their_seconds.push_back(seconds(theirs));
    }
    std::size_t same = 0;
    for (std::size_t i = 0; i < n * k; ++i) same += our_ids[i] == their_ids[i] ? 1 : 0;
    const double our_rate = static_cast<double>(n) / median(our_seconds);
    const double their_rate = static_cast<double>(n) / median(their_seconds);
    fmt::print("| {} | {:.0f} | {:.0f} | {:.1f} | {:.3f} % |\n", batch, our_rate, their_rate, our_rate / their_rate,
               100.0 * static_cast<double>(same) / static_cast<double>(n * k));
    std::fflush(stdout);
  }

  Settings settings_;
  ivf::Metric metric_;
  std::size_t dim_ = 0;
  std::vector<float> base_, queries_;
  ivf::IndexIVFFlat ours_;
  faiss::IndexFlat quantizer_;
  faiss::IndexIVFFlat theirs_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    Comparison(parse(argc, argv)).print();
  } catch (const std::exception& error) {
    fmt::print(stderr, "ivf_compare_faiss: {}\n", error.what());
    return 1;
  }
}

#pragma once
/// \file
/// One run of `bench` or of a sweep: data and indexes made once, then measured at one point after another.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ann_benchmarks.h"
#include "bench/engine.h"
#include "bench/ivf_engine.h"
#include "bench/profile.h"
#include "bench/record.h"
#include "bench_options.h"
#include "command.h"
#include "workload.h"

namespace ivf::cli {

/// What varies within a sweep.
struct BenchPoint {
  std::uint64_t nq = 1, nprobe = 1, max_codes = 0;
};

/// What is reported beside the time.
struct Wanted {
  bool recall = false;               ///< Against exact search.
  bool recall_vs_unlimited = false;  ///< Against the same library without max_codes.
  bool profile = false;              ///< Where the time goes.
};

class BenchSession {
 public:
  /// Loads the data for batches of at most `most_nq` queries, and builds the indexes.
  BenchSession(Context& context, const BenchOptions& options, const char* command, std::uint64_t most_nq,
               Wanted wanted);

  std::size_t nlist() const noexcept { return run_.nlist; }
  /// Queries that there are.
  std::size_t queries() const { return work_.nq(); }
  const bench::RunInfo& info() const noexcept { return run_; }

  /// Measures all contenders at one point, side by side: a record of each.
  std::vector<bench::Json> measure(const BenchPoint& point);

  /// Writes what --ann-benchmarks asks for.
  void finish();

 private:
  /// How the index of one library came to be.
  struct Built {
    bench::BuildTimes times;
    std::string centroids = "own";
    std::string hash;
  };

  void use_index(std::unique_ptr<Index> index);
  void settle_sizes();
  void build_ivf();
  void build_faiss();
  void give_lists_to_faiss();
  void require_device() const;
  bench::IndexSettings index_settings() const;
  RunOptions run_options() const;
  bench::Batches batches_for(const BenchPoint& point) const;
  bench::Json record(const bench::Contender& contender, const bench::Batches& batches,
                     const bench::Measurement& measurement, const bench::Measurement* reference);
  double recall(const bench::Measurement& measurement);
  double recall_vs_unlimited(const bench::Contender& contender, const bench::Batches& batches,
                             const bench::Measurement& measurement);

  bench::Json profile(const bench::Contender& contender, const bench::Batches& batches,
                      const bench::Measurement& measurement);

  Context& context_;
  const BenchOptions& options_;
  Wanted wanted_;
  Workload work_;
  bench::RunInfo run_;
  std::unique_ptr<bench::IvfEngine> ivf_;  ///< Also when only faiss is measured, on the lists of an index file.
  std::unique_ptr<bench::AdoptingEngine> faiss_;
  std::unique_ptr<Index> exact_;  ///< All rows, for exact search where there is no index of ivf.
  Built ivf_built_, faiss_built_;
  std::optional<AnnBenchmarksFiles> ann_benchmarks_;
  std::map<std::string, DevicePeak> peaks_;  ///< By instruction-set level.
  std::vector<idx_t> truth_;                 ///< Exact neighbours of the first queries, k each.
  std::map<const bench::Engine*, std::vector<idx_t>> unlimited_;
};

}  // namespace ivf::cli

#pragma once
/// \file
/// Benchmark records: one JSON object a measurement. docs/record.schema.json is the contract.

#include <optional>
#include <string>
#include <vector>

#include "bench/engine.h"
#include "bench/json.h"
#include "bench/measure.h"

namespace ivf::bench {

/// Rises when a key changes its meaning or goes away; new keys do not raise it.
inline constexpr int record_version = 1;

/// What all records of one run have in common.
struct RunInfo {
  std::string command;  ///< "bench", "sweep-nq", ...
  std::string dataset;  ///< Name of the data, or how they were generated.
  std::string queries;  ///< Where the queries came from.
  std::string index;    ///< An index file; empty when the index was made by the run.
  std::string label;    ///< Empty: library and device.
  Metric metric = Metric::l2;
  std::size_t dim = 0;
  std::uint64_t nb = 0;
  std::optional<std::uint64_t> train_n;
  std::size_t nlist = 1;
  std::uint64_t seed = 0;
  std::uint64_t max_memory = 0;
  std::string dtype = "float32";
  bool resident = false;  ///< Queries and results lie on the device.
  Protocol protocol;
  std::string ivf_version, ivf_commit, compiler;
};

/// How long train and add took, once a repetition, and what the index came to.
struct BuildTimes {
  std::vector<double> train_ms, add_ms;  ///< Empty: there was none.
  std::uint64_t train_peak_bytes = 0, add_peak_bytes = 0;
  std::uint64_t index_bytes = 0;  ///< By how much the memory of where it is searched grew; 0: not known.
  /// Of a device: what its memory held more than before the index was made.
  std::optional<std::uint64_t> train_reserved_bytes, add_reserved_bytes;
};

/// What one record is made of.
struct Measured {
  LibraryInfo library;
  std::string centroids;   ///< "own" or "ivf": whose centroids the lists have.
  std::string index_hash;  ///< Empty: not known.
  BuildTimes build;
  SearchSettings settings;
  std::size_t nq = 0;  ///< Queries a batch.
  std::size_t batches = 1;
  const Measurement* measurement = nullptr;
  std::optional<std::uint64_t> reserved_bytes;  ///< Of a device, after the search: like BuildTimes::add_reserved_bytes.
  std::optional<double> recall;                 ///< Against exact search.
  std::optional<double> recall_vs_unlimited;    ///< Against the same library without max_codes.
  const Measurement* reference = nullptr;       ///< Another library's, measured run by run beside this one.
  std::string reference_library;
  Json profile;  ///< Null: not asked for, or not known.
};

Json make_record(const RunInfo& run, const Measured& measured);

/// A hash (hex) of ids and distances.
std::string result_hash(const SearchResult& result);

}  // namespace ivf::bench

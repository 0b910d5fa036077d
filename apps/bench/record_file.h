#pragma once
/// \file
/// Reading benchmark records back: of ivf, and of torch-ivf, which have fewer keys.

#include <cstddef>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace ivf::bench {

/// A record and where it stands.
struct StoredRecord {
  nlohmann::json value;
  std::string file;
  std::size_t line = 0;  ///< From 1.

  std::string place() const;
  /// The positive number under a key; throws Error(misuse) when there is none.
  double positive(const char* key) const;
  /// The timed runs under `key` + "_runs"; without them the one value under `key`; nothing when that is null.
  std::vector<double> runs(const char* key) const;
};

/// All records of a file of JSON lines; "-" is standard input. Empty lines are skipped. Throws Error(misuse) naming
/// file and line for what is no record (not JSON, a key that is missing or of the wrong kind, a newer version) and for
/// a file without records; Error(failed) when it cannot be read.
std::vector<StoredRecord> read_records(const std::string& path);

}  // namespace ivf::bench

#pragma once
/// \file
/// Two sets of records compared: which belong together, how the times relate, and what can be said about them.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/record_file.h"
#include "bench/statistics.h"

namespace ivf::bench {

struct ComparisonLimits {
  double max_regress = 0.05;  ///< A time may grow by this share.
  double max_recall_drop = 0.001;
  bool identical_results = false;  ///< result_hash must be equal.
};

/// What a ratio of times allows to say.
enum class Verdict {
  same,     ///< Certainly not slower by more than the limit, and not certainly faster.
  faster,   ///< Certainly faster by more than the limit.
  slower,   ///< Certainly slower by more than the limit: a regression.
  unclear,  ///< The noise is larger than the limit.
};

const char* verdict_name(Verdict verdict) noexcept;  ///< "no change", "faster", "slower", "unclear"

/// One time of a pair, new / base.
struct TimeChange {
  std::string key;  ///< "search_ms", "train_ms" or "add_ms".
  double base_ms = 0, new_ms = 0;
  std::size_t base_runs = 0, new_runs = 0;
  Ratio ratio;
  Verdict verdict = Verdict::same;
};

/// Records of equal parameters. Several of one file count as one with all their runs.
struct RecordPair {
  std::map<std::string, nlohmann::json> parameters;
  std::vector<TimeChange> times;  ///< search_ms first.
  std::optional<double> machine;  ///< Above 1: how much slower the machine itself was for the new records.
  std::optional<double> base_recall, new_recall;
  bool recall_dropped = false;
  std::optional<bool> identical;   ///< Whether result_hash agrees; nothing where a record has none.
  std::vector<std::string> notes;  ///< What else differs (machine, compiler, instruction set).

  bool regression(const ComparisonLimits& limits) const;
};

struct Comparison {
  std::vector<RecordPair> pairs;                       ///< In the order of the base.
  std::vector<std::string> only_in_base, only_in_new;  ///< Places of records without a partner.
};

/// Throws Error(misuse) when no records belong together, naming the parameters that differ, and when identical results
/// are required of records without result_hash.
Comparison compare_records(const std::vector<StoredRecord>& base, const std::vector<StoredRecord>& fresh,
                           const ComparisonLimits& limits);

/// The keys whose values make two records comparable.
const std::vector<std::string>& parameter_keys();

/// The machine during new records, beside the base.
struct Machine {
  double ratio = 1;     ///< Above 1: it was slower.
  Ratio cpu;            ///< Ratio of CPU times.
  bool shared = false;  ///< Other work took the CPUs away.
};

/// What two series of times say.
TimeChange judge_times(const std::string& key, const std::vector<double>& base, const std::vector<double>& fresh,
                       const Machine& machine, double limit);

}  // namespace ivf::bench

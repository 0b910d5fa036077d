#include "bench/comparison.h"

#include <algorithm>

#include <fmt/format.h>

#include "bench/json_lines.h"
#include "ivf/error.hpp"

namespace ivf::bench {
namespace {

using Parameters = std::map<std::string, nlohmann::json>;

// A thread that loses its CPU to other work more often than every so many milliseconds was not alone.
constexpr double undisturbed_ms = 50;

// Fewer runs than this give no interval; the estimate is then taken for what it is.
constexpr std::size_t runs_for_interval = 3;

Parameters parameters_of(const StoredRecord& record) {
  Parameters result;
  for (const std::string& key : parameter_keys()) {
    const auto found = record.value.find(key);
    result[key] = found == record.value.end() ? nlohmann::json() : *found;
  }
  // Records that are older than the choice of kernels.
  if (result["library"] == "ivf" && result["kernels"].is_null()) result["kernels"] = "native";
  // The same file may lie elsewhere on another machine.
  for (const char* key : {"dataset", "queries", "index"}) {
    if (!result[key].is_string()) continue;
    const std::string name = result[key].get<std::string>();
    result[key] = name.substr(name.rfind('/') + 1);
  }
  return result;
}

/// Records of one file with equal parameters.
struct Group {
  Parameters parameters;
  std::vector<const StoredRecord*> records;

  std::vector<double> runs(const char* key) const {
    std::vector<double> all;
    for (const StoredRecord* record : records) {
      const std::vector<double> some = record->runs(key);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

  std::optional<double> number(const char* key) const {
    for (const StoredRecord* record : records) {
      const auto found = record->value.find(key);
      if (found != record->value.end() && found->is_number()) return found->get<double>();
    }
    return std::nullopt;
  }

  /// All different values of a text, joined; empty when there is none.
  std::string text(const char* key) const {
    std::vector<std::string> values;
    for (const StoredRecord* record : records) {
      const auto found = record->value.find(key);
      if (found == record->value.end() || !found->is_string()) continue;
      const std::string value = found->get<std::string>();
      if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
    }
    return fmt::format("{}", fmt::join(values, ", "));
  }
};

std::vector<Group> grouped_records(const std::vector<StoredRecord>& records) {
  std::vector<Group> groups;
  for (const StoredRecord& record : records) {
    Parameters parameters = parameters_of(record);
    const auto found =
        std::find_if(groups.begin(), groups.end(), [&](const Group& group) { return group.parameters == parameters; });
    if (found != groups.end()) {
      found->records.push_back(&record);
    } else {
      groups.push_back({std::move(parameters), {&record}});
    }
  }
  return groups;
}

/// What parts two records that are the nearest to being a pair.
std::string differences(const Parameters& base, const Parameters& fresh) {
  std::string text;
  for (const auto& [key, value] : base) {
    const nlohmann::json& other = fresh.at(key);
    if (value == other) continue;
    text += fmt::format("{}{} ({} and {})", text.empty() ? "" : ", ", key, json_excerpt(value), json_excerpt(other));
  }
  return text;
}

std::size_t count_differences(const Parameters& base, const Parameters& fresh) {
  return static_cast<std::size_t>(
      std::count_if(base.begin(), base.end(), [&](const auto& item) { return item.second != fresh.at(item.first); }));
}

[[noreturn]] void refuse_without_pairs(const std::vector<Group>& base, const std::vector<Group>& fresh) {
  const Group* nearest_base = &base.front();
  const Group* nearest_fresh = &fresh.front();
  for (const Group& one : base) {
    for (const Group& other : fresh) {
      if (count_differences(one.parameters, other.parameters) <
          count_differences(nearest_base->parameters, nearest_fresh->parameters)) {
        nearest_base = &one;
        nearest_fresh = &other;
      }
    }
  }
  throw Error(ErrorKind::misuse,
              fmt::format("no two records have the same parameters; the nearest, {} and {}, differ in {}",
                          nearest_base->records.front()->place(), nearest_fresh->records.front()->place(),
                          differences(nearest_base->parameters, nearest_fresh->parameters)));
}

std::optional<bool> identical_results(const Group& base, const Group& fresh, const ComparisonLimits& limits) {
  const std::string one = base.text("result_hash"), other = fresh.text("result_hash");
  if (one.empty() || other.empty()) {
    if (limits.identical_results) {
      throw Error(ErrorKind::misuse,
                  fmt::format("{}: key 'result_hash' is missing, so that results cannot be required to be identical",
                              (one.empty() ? base : fresh).records.front()->place()));
    }
    return std::nullopt;
  }
  return one == other;
}

std::vector<std::string> notes_on(const Group& base, const Group& fresh) {
  std::vector<std::string> notes;
  for (const char* key : {"host_cpu", "host_os", "isa", "chosen_mode", "compiler", "backend", "torch_version",
                          "faiss_version", "index_hash"}) {
    const std::string one = base.text(key), other = fresh.text(key);
    if (!one.empty() && !other.empty() && one != other) notes.push_back(fmt::format("{}: {} -> {}", key, one, other));
  }
  return notes;
}

/// Whether other work took the CPUs away.
bool disturbed(const Group& group) {
  return group.number("preemptions").value_or(0) * undisturbed_ms > median(group.runs("search_ms"));
}

/// How the machine was for the new records, beside the base. When the probe shows a change, what the process got of the
/// CPUs counts as well: short arithmetic is disturbed less than a long search.
std::optional<Machine> machine_of(const Group& base, const Group& fresh, double limit) {
  const std::vector<double> base_probe = base.runs("probe_ms"), fresh_probe = fresh.runs("probe_ms");
  const std::vector<double> base_cpu = base.runs("cpu_ms"), fresh_cpu = fresh.runs("cpu_ms");
  if (base_probe.empty() || fresh_probe.empty() || base_cpu.empty() || fresh_cpu.empty()) return std::nullopt;
  Machine machine;
  machine.ratio = ratio_of_medians(fresh_probe, base_probe).value;
  machine.cpu = ratio_of_medians(fresh_cpu, base_cpu);
  machine.shared = disturbed(base) || disturbed(fresh);
  const double shares = ratio_of_medians(fresh.runs("search_ms"), base.runs("search_ms")).value / machine.cpu.value;
  if (machine.ratio > 1 + limit) machine.ratio = std::max(machine.ratio, shares);
  if (machine.ratio < 1 / (1 + limit)) machine.ratio = std::min(machine.ratio, shares);
  return machine;
}

RecordPair make_pair(const Group& base, const Group& fresh, const ComparisonLimits& limits) {
  RecordPair pair;
  pair.parameters = base.parameters;
  const std::optional<Machine> machine = machine_of(base, fresh, limits.max_regress);
  if (machine) pair.machine = machine->ratio;
  for (const char* key : {"search_ms", "train_ms", "add_ms"}) {
    const std::vector<double> one = base.runs(key), other = fresh.runs(key);
    const bool enough = std::min(one.size(), other.size()) >= runs_for_interval;
    // An index is usually built once, and one time says nothing about its noise.
    if (key != std::string_view("search_ms") && !enough) continue;
    Machine during = machine.value_or(Machine{});
    // CPU times are those of searches.
    if (key != std::string_view("search_ms")) during.cpu = ratio_of_medians(other, one);
    pair.times.push_back(judge_times(key, one, other, during, limits.max_regress));
  }
  pair.base_recall = base.number("recall_at_k");
  pair.new_recall = fresh.number("recall_at_k");
  pair.recall_dropped =
      pair.base_recall && pair.new_recall && *pair.base_recall - *pair.new_recall > limits.max_recall_drop;
  pair.identical = identical_results(base, fresh, limits);
  pair.notes = notes_on(base, fresh);
  return pair;
}

void add_places(std::vector<std::string>& places, const Group& group) {
  for (const StoredRecord* record : group.records) places.push_back(record->place());
}

}  // namespace

const char* verdict_name(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::same:
      return "no change";
    case Verdict::faster:
      return "faster";
    case Verdict::slower:
      return "slower";
    case Verdict::unclear:
      return "unclear";
  }
  return "unknown";
}

const std::vector<std::string>& parameter_keys() {
  static const std::vector<std::string> keys = {
      "library", "device", "kernels", "search_mode", "metric", "dim",       "nb",
      "train_n", "nq",     "batches", "nlist",       "nprobe", "max_codes", "topk",
      "dtype",   "seed",   "dataset", "queries",     "index",  "centroids", "threads"};
  return keys;
}

TimeChange judge_times(const std::string& key, const std::vector<double>& base, const std::vector<double>& fresh,
                       const Machine& machine, double limit) {
  TimeChange change;
  change.key = key;
  change.base_ms = median(base);
  change.new_ms = median(fresh);
  change.base_runs = base.size();
  change.new_runs = fresh.size();
  change.ratio = ratio_of_medians(fresh, base);
  const bool interval = std::min(base.size(), fresh.size()) >= runs_for_interval;
  const double low = interval ? change.ratio.low : change.ratio.value;
  const double high = interval ? change.ratio.high : change.ratio.value;
  const double most = 1 + limit;
  // Other work on the machine only adds time. So a change of the program shows in the quickest runs too; and what the
  // machine itself lost or gained, as the probe says, is no change of the program. Where the machine was not the same,
  // the time of the CPUs must have changed as well (waiting for them is no work of the program), and by twice the
  // limit, because what the machine lost is known only roughly.
  const double least = minimum(fresh) / minimum(base);
  const double slower_machine = std::max(machine.ratio, 1.0), faster_machine = std::min(machine.ratio, 1.0);
  const bool steady = !machine.shared && machine.ratio <= most && machine.ratio >= 1 / most;
  // A machine that was clearly quicker may hide a slow-down.
  const double hidden = machine.ratio < 1 / most ? machine.ratio : 1;
  const double clear = steady ? most : most + limit;
  if (std::min(low, least) / slower_machine > clear && (steady || machine.cpu.low > most)) {
    change.verdict = Verdict::slower;
  } else if (std::max(high, least) / faster_machine < 1 / clear && (steady || machine.cpu.high < 1 / most)) {
    change.verdict = Verdict::faster;
  } else if (high / hidden <= most && high >= 1 / most) {
    change.verdict = Verdict::same;
  } else {
    change.verdict = Verdict::unclear;
  }
  return change;
}

bool RecordPair::regression(const ComparisonLimits& limits) const {
  const bool slower =
      std::any_of(times.begin(), times.end(), [](const TimeChange& time) { return time.verdict == Verdict::slower; });
  return slower || recall_dropped || (limits.identical_results && !identical.value_or(false));
}

Comparison compare_records(const std::vector<StoredRecord>& base, const std::vector<StoredRecord>& fresh,
                           const ComparisonLimits& limits) {
  const std::vector<Group> base_groups = grouped_records(base), fresh_groups = grouped_records(fresh);
  const auto partner = [](const Group& group, const std::vector<Group>& others) {
    return std::find_if(others.begin(), others.end(),
                        [&](const Group& other) { return other.parameters == group.parameters; });
  };
  Comparison comparison;
  for (const Group& group : base_groups) {
    const auto other = partner(group, fresh_groups);
    if (other == fresh_groups.end()) {
      add_places(comparison.only_in_base, group);
    } else {
      comparison.pairs.push_back(make_pair(group, *other, limits));
    }
  }
  for (const Group& group : fresh_groups) {
    if (partner(group, base_groups) == base_groups.end()) add_places(comparison.only_in_new, group);
  }
  if (comparison.pairs.empty()) refuse_without_pairs(base_groups, fresh_groups);
  return comparison;
}

}  // namespace ivf::bench

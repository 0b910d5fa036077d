#include "bench/profile.h"

#include <algorithm>
#include <cmath>
#include <thread>
#include <vector>

#include "bench/json.h"
#include "bench/machine.h"
#include "bench/peak.h"

namespace ivf::bench {
namespace {

/// A part of a whole; null when there is no whole.
Json share_of(double part, double whole) { return whole > 0 ? Json(rounded(part / whole)) : Json(); }

/// An amount a second, from milliseconds; null for a phase that took no time.
Json rate(double amount, double milliseconds) {
  return milliseconds > 0 ? Json(std::round(amount / milliseconds * 1e3)) : Json();
}

Json share_of_rate(const Json& value, double peak) {
  return value.is_null() ? Json() : share_of(value.get<double>(), peak);
}

double all_threads_flops(const std::string& isa, unsigned threads) {
  std::vector<double> each(std::max(threads, 1u));
  std::vector<std::thread> others;
  for (unsigned thread = 1; thread < threads; ++thread) {
    others.emplace_back([&each, &isa, thread] { each[thread] = peak_flops(isa.c_str()); });
  }
  each[0] = peak_flops(isa.c_str());
  for (std::thread& other : others) other.join();
  double sum = 0;
  for (const double flops : each) sum += flops;
  return sum;
}

}  // namespace

DevicePeak machine_peak(const std::string& isa, unsigned threads) {
  return {read_bandwidth(threads), all_threads_flops(isa, threads)};
}

Json make_profile(const Measurement& measurement, const SearchSettings& settings, std::size_t batches, std::size_t dim,
                  std::size_t nlist, const DevicePeak& peak) {
  const std::size_t run = measurement.median_run();
  const SearchStats& stats = measurement.stats[run];
  const auto count = static_cast<double>(batches);
  const auto queries = static_cast<double>(measurement.result.nq);
  const double whole = measurement.batch_ms[run];
  const double phases[] = {stats.coarse_ms, stats.group_ms, stats.scan_ms, stats.refine_ms, stats.merge_ms};
  static constexpr const char* names[] = {"coarse", "group", "scan", "refine", "merge"};
  Json times = Json::object(), shares = Json::object();
  double known = 0;
  for (std::size_t i = 0; i < std::size(phases); ++i) {
    const double milliseconds = phases[i] / count;
    known += milliseconds;
    times[names[i]] = rounded(milliseconds);
    shares[names[i]] = share_of(milliseconds, whole);
  }
  times["other"] = rounded(std::max(0.0, whole - known));
  shares["other"] = share_of(std::max(0.0, whole - known), whole);

  Json device_times;
  for (const DevicePhase& phase : stats.device_phases) device_times[phase.name] = rounded(phase.ms / count);

  // A multiplication and an addition for each dimension of each row that is looked at.
  const double scan_flops = 2.0 * static_cast<double>(dim) * static_cast<double>(stats.rows_scanned);
  const double coarse_flops = nlist > 1 ? 2.0 * static_cast<double>(dim * nlist) * queries : 0;
  const Json bytes_rate = rate(static_cast<double>(stats.bytes_scanned), stats.scan_ms);
  const Json flops_rate = rate(scan_flops, stats.scan_ms);
  return {{"phase_ms", times},
          {"phase_share", shares},
          {"device_phase_ms", device_times},
          {"lists_per_query", share_of(static_cast<double>(stats.lists_scanned), queries)},
          {"lists_pruned_per_query", share_of(static_cast<double>(stats.lists_pruned), queries)},
          {"rows_per_query", share_of(static_cast<double>(stats.rows_scanned), queries)},
          {"passed_per_query", share_of(static_cast<double>(stats.rows_passed), queries)},
          {"survivors_per_query", share_of(static_cast<double>(stats.rows_refined), queries)},
          {"survivors_per_result",
           share_of(static_cast<double>(stats.rows_refined), queries * static_cast<double>(settings.k))},
          {"queries_per_row_read", share_of(2.0 * static_cast<double>(dim) * static_cast<double>(stats.rows_scanned),
                                            static_cast<double>(stats.bytes_scanned))},
          {"scan_bytes", stats.bytes_scanned},
          {"scan_flops", scan_flops},
          {"coarse_flops", coarse_flops},
          {"scan_bytes_per_second", bytes_rate},
          {"scan_flops_per_second", flops_rate},
          {"coarse_flops_per_second", rate(coarse_flops, stats.coarse_ms)},
          {"peak_bytes_per_second", peak.bytes_per_second > 0 ? Json(std::round(peak.bytes_per_second)) : Json()},
          {"peak_flops_per_second", peak.flops_per_second > 0 ? Json(std::round(peak.flops_per_second)) : Json()},
          {"scan_share_of_peak_bandwidth", share_of_rate(bytes_rate, peak.bytes_per_second)},
          {"scan_share_of_peak_flops", share_of_rate(flops_rate, peak.flops_per_second)}};
}

}  // namespace ivf::bench

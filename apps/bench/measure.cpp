#include "bench/measure.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <thread>

#include "bench/machine.h"
#include "bench/statistics.h"

namespace ivf::bench {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// What the process has used of the CPUs so far.
struct Usage {
  double cpu_ms = 0;
  double preemptions = 0;

  static Usage now() {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return {static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6,
            static_cast<double>(usage.ru_nivcsw)};
  }
};

/// One run. What is done with results lies between the timed calls.
void run(const Contender& contender, const Batches& batches, Measurement& out, const std::function<void()>& check) {
  const Searcher& searcher = contender.searcher != nullptr ? *contender.searcher : *contender.engine;
  SearchResult all;
  double wall = 0;
  Usage used;
  for (std::size_t i = 0; i < batches.count(); ++i) {
    check();
    const MatrixView queries = batches.queries.slice(i * batches.batch, batches.batch);
    const Usage before = Usage::now();
    const auto start = Clock::now();
    const SearchResult found = searcher.search(queries, contender.settings);
    after_timed_call(milliseconds_since(start));
    const double elapsed = milliseconds_since(start);
    const Usage after = Usage::now();
    used.cpu_ms += after.cpu_ms - before.cpu_ms;
    used.preemptions += after.preemptions - before.preemptions;
    wall += elapsed;
    out.latency_ms.push_back(elapsed);
    append(all, found);
  }
  const auto count = static_cast<double>(batches.count());
  out.batch_ms.push_back(wall / count);
  out.cpu_ms.push_back(used.cpu_ms / count);
  out.preemptions.push_back(used.preemptions / count);
  out.stats.push_back(all.stats);
  out.result = std::move(all);
}

}  // namespace

std::size_t Measurement::median_run() const {
  const double middle = median(batch_ms);
  const auto nearest = std::min_element(batch_ms.begin(), batch_ms.end(), [&](double a, double b) {
    return std::fabs(a - middle) < std::fabs(b - middle);
  });
  return static_cast<std::size_t>(nearest - batch_ms.begin());
}

void accumulate(SearchStats& total, const SearchStats& batch) {
  total.chosen_mode = batch.chosen_mode;
  total.auto_threshold = batch.auto_threshold;
  total.isa = batch.isa;
  total.threads = batch.threads;
  total.avg_group_size = std::max(total.avg_group_size, batch.avg_group_size);
  total.lists_scanned += batch.lists_scanned;
  total.lists_pruned += batch.lists_pruned;
  total.rows_scanned += batch.rows_scanned;
  total.rows_passed += batch.rows_passed;
  total.rows_refined += batch.rows_refined;
  total.queries_widened += batch.queries_widened;
  total.queries_on_host += batch.queries_on_host;
  total.host_syncs += batch.host_syncs;
  total.filter_plan = batch.filter_plan;
  total.rows_allowed = batch.rows_allowed;
  total.bytes_scanned += batch.bytes_scanned;
  total.coarse_ms += batch.coarse_ms;
  total.group_ms += batch.group_ms;
  total.scan_ms += batch.scan_ms;
  total.refine_ms += batch.refine_ms;
  total.merge_ms += batch.merge_ms;
  for (const DevicePhase& phase : batch.device_phases) {
    const auto same = std::find_if(total.device_phases.begin(), total.device_phases.end(),
                                   [&](const DevicePhase& other) { return other.name == phase.name; });
    if (same == total.device_phases.end()) {
      total.device_phases.push_back(phase);
    } else {
      same->ms += phase.ms;
    }
  }
}

void append(SearchResult& all, const SearchResult& batch) {
  all.k = batch.k;
  all.nq += batch.nq;
  all.distances.insert(all.distances.end(), batch.distances.begin(), batch.distances.end());
  all.ids.insert(all.ids.end(), batch.ids.begin(), batch.ids.end());
  accumulate(all.stats, batch.stats);
}

std::vector<Measurement> measure(const std::vector<Contender>& contenders, const Batches& batches,
                                 const Protocol& protocol, const Between& between) {
  std::vector<Measurement> measurements(contenders.size());
  const std::size_t rounds = protocol.warmup + protocol.repeat;
  const std::size_t total = rounds * contenders.size();
  std::size_t done = 0;
  const auto check = [&] { between(done, total); };
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t turn = 0; turn < contenders.size(); ++turn, ++done) {
      const std::size_t i = (turn + round) % contenders.size();
      check();
      if (round < protocol.warmup) {
        Measurement unused;
        run(contenders[i], batches, unused, check);
        continue;
      }
      if (protocol.settle_ms > 0) {
        std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(protocol.settle_ms));
      }
      measurements[i].probe_ms.push_back(probe_ms(contenders[i].engine->info().threads));
      const PeakMemory memory;
      run(contenders[i], batches, measurements[i], check);
      measurements[i].peak_bytes = std::max(measurements[i].peak_bytes, memory.bytes());
    }
  }
  check();
  return measurements;
}

}  // namespace ivf::bench

#include "bench/record.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "bench/hash.h"
#include "bench/machine.h"
#include "bench/names.h"
#include "bench/statistics.h"

namespace ivf::bench {
namespace {

/// NAME (median), NAME_min, NAME_max, NAME_spread and NAME_runs.
void put_times(Json& record, const std::string& name, const std::vector<double>& values) {
  const bool any = !values.empty();
  record[name] = any ? Json(rounded(median(values))) : Json();
  record[name + "_min"] = any ? Json(rounded(minimum(values))) : Json();
  record[name + "_max"] = any ? Json(rounded(maximum(values))) : Json();
  record[name + "_spread"] = any ? Json(rounded(relative_spread(values))) : Json();
  record[name + "_runs"] = rounded(values);
}

void put_library(Json& record, const Measured& measured) {
  const LibraryInfo& library = measured.library;
  const bool ours = library.library == "ivf";
  const SearchStats& stats = measured.measurement->result.stats;
  record["library"] = library.library;
  record["device"] = library.device;
  record["device_name"] = library.device_name.empty() ? host_cpu() : library.device_name;
  record["backend"] = library.backend;
  record["kernels"] = or_null(library.kernels);
  record["search_mode"] = ours ? mode_name(measured.settings.mode) : "faiss";
  record["chosen_mode"] = ours ? mode_name(stats.chosen_mode) : "faiss";
  record["auto_avg_group_size"] = ours ? Json(rounded(stats.avg_group_size)) : Json();
  record["auto_threshold"] = ours ? Json(rounded(stats.auto_threshold)) : Json();
  record["isa"] = ours ? Json(stats.isa) : Json();
  record["threads"] = library.threads;
}

void put_task(Json& record, const RunInfo& run, const Measured& measured) {
  record["metric"] = metric_name(run.metric);
  record["dim"] = run.dim;
  record["nb"] = run.nb;
  record["train_n"] = run.train_n ? Json(*run.train_n) : Json();
  record["nq"] = measured.nq;
  record["batches"] = measured.batches;
  record["nlist"] = run.nlist;
  record["nprobe"] = measured.settings.nprobe;
  record["max_codes"] = measured.settings.max_codes;
  record["topk"] = measured.settings.k;
  record["dtype"] = run.dtype;
  record["seed"] = run.seed;
  record["dataset"] = run.dataset;
  record["queries"] = run.queries;
  record["index"] = or_null(run.index);
  record["centroids"] = measured.centroids;
}

void put_search(Json& record, const RunInfo& run, const Measured& measured) {
  const Measurement& measurement = *measured.measurement;
  put_times(record, "search_ms", measurement.batch_ms);
  record["resident"] = run.resident;
  record["warmup"] = run.protocol.warmup;
  record["repeat"] = run.protocol.repeat;
  record["qps"] = rounded(static_cast<double>(measured.nq) * 1000 / std::max(1e-9, median(measurement.batch_ms)));
  record["latency_ms_p50"] = rounded(quantile(measurement.latency_ms, 0.50));
  record["latency_ms_p95"] = rounded(quantile(measurement.latency_ms, 0.95));
  record["latency_ms_p99"] = rounded(quantile(measurement.latency_ms, 0.99));
  record["cpu_ms"] = rounded(median(measurement.cpu_ms));
  record["cpu_ms_runs"] = rounded(measurement.cpu_ms);
  record["preemptions"] = rounded(median(measurement.preemptions));
  record["probe_ms"] = rounded(median(measurement.probe_ms));
  record["probe_ms_runs"] = rounded(measurement.probe_ms);
  record["recall_at_k"] = or_null(measured.recall);
  record["recall_at_k_vs_unlimited"] = or_null(measured.recall_vs_unlimited);
  record["result_hash"] = result_hash(measurement.result);
  record["index_hash"] = or_null(measured.index_hash);
}

void put_stats(Json& record, const Measured& measured) {
  const bool ours = measured.library.library == "ivf";
  const SearchStats& stats = measured.measurement->result.stats;
  const auto count = [&](std::uint64_t value) { return ours ? Json(value) : Json(); };
  record["lists_scanned"] = count(stats.lists_scanned);
  record["lists_pruned"] = count(stats.lists_pruned);
  record["rows_scanned"] = count(stats.rows_scanned);
  record["rows_refined"] = count(stats.rows_refined);
  record["bytes_scanned"] = count(stats.bytes_scanned);
  record["queries_widened"] = count(stats.queries_widened);
  record["queries_on_host"] = count(stats.queries_on_host);
  record["host_syncs"] = count(stats.host_syncs);
}

/// "ivf_cpu", "ivf_torch_cuda:1", "faiss_cpu".
std::string usual_label(const LibraryInfo& library) {
  const char* name = library.library != "ivf" ? "faiss" : library.kernels == "torch" ? "ivf_torch" : "ivf";
  return fmt::format("{}_{}", name, library.device);
}

/// How many times as fast as the reference, from runs made side by side.
void put_speedup(Json& record, const Measured& measured) {
  record["speedup_vs"] = or_null(measured.reference_library);
  if (!measured.reference) {
    for (const char* key : {"speedup", "speedup_low", "speedup_high", "speedup_pairs"}) record[key] = Json();
    return;
  }
  const std::vector<double>& theirs = measured.reference->batch_ms;
  const std::vector<double>& ours = measured.measurement->batch_ms;
  const Ratio ratio = ratio_of_pairs(theirs, ours);
  std::vector<double> pairs;
  for (std::size_t i = 0; i < ours.size(); ++i) pairs.push_back(theirs[i] / ours[i]);
  record["speedup"] = rounded(ratio.value);
  record["speedup_low"] = rounded(ratio.low);
  record["speedup_high"] = rounded(ratio.high);
  record["speedup_pairs"] = rounded(pairs);
}

void put_memory(Json& record, const RunInfo& run, const Measured& measured) {
  // What the process allocates is known where it computes on the CPU; a device tells only how much of it is taken, and
  // LibTorch gives nothing back of that, so that the last of these values is the largest.
  const bool cpu = measured.library.device == "cpu";
  const auto of_cpu = [cpu](std::uint64_t bytes) { return cpu ? or_null(bytes) : Json(); };
  const BuildTimes& build = measured.build;
  record["max_memory"] = run.max_memory;
  record["device_total_memory_bytes"] = or_null(cpu ? total_memory_bytes() : measured.library.device_bytes);
  record["index_bytes"] = or_null(build.index_bytes);
  record["mem_allocated_bytes"] = of_cpu(resident_bytes());
  record["mem_reserved_bytes"] = or_null(measured.reserved_bytes);
  record["train_peak_allocated_bytes"] = of_cpu(build.train_peak_bytes);
  record["train_peak_reserved_bytes"] = or_null(build.train_reserved_bytes);
  record["add_peak_allocated_bytes"] = of_cpu(build.add_peak_bytes);
  record["add_peak_reserved_bytes"] = or_null(build.add_reserved_bytes);
  record["search_peak_allocated_bytes"] = of_cpu(measured.measurement->peak_bytes);
  record["search_peak_reserved_bytes"] = or_null(measured.reserved_bytes);
}

void put_origin(Json& record, const RunInfo& run, const Measured& measured) {
  const bool ours = measured.library.library == "ivf";
  record["ivf_version"] = run.ivf_version;
  record["ivf_commit"] = run.ivf_commit;
  record["compiler"] = run.compiler;
  record["faiss_version"] = ours ? Json() : or_null(measured.library.version);
  record["faiss_compile_options"] = ours ? Json() : or_null(measured.library.compile_options);
  const bool torch_on_cpu = measured.library.kernels == "torch" && measured.library.device == "cpu";
  record["torch_version"] = or_null(measured.library.torch_version);
  record["torch_num_threads"] = torch_on_cpu ? Json(measured.library.threads) : Json();
  // Keys of torch-ivf's records that say nothing about a program without Python.
  for (const char* key :
       {"torch_git_version", "torch_num_interop_threads", "python_version", "auto_search_avg_group_threshold"}) {
    record[key] = Json();
  }
  record["auto_enabled"] = ours ? Json(measured.settings.mode == SearchMode::automatic ? 1 : 0) : Json();
  record["host_os"] = host_os();
  record["host_platform"] = host_platform();
  record["host_cpu"] = host_cpu();
  record["timestamp"] = utc_timestamp();
  record["label"] = run.label.empty() ? usual_label(measured.library) : run.label;
}

}  // namespace

Json make_record(const RunInfo& run, const Measured& measured) {
  Json record;
  record["record_version"] = record_version;
  record["command"] = run.command;
  put_library(record, measured);
  put_task(record, run, measured);
  put_times(record, "train_ms", measured.build.train_ms);
  put_times(record, "add_ms", measured.build.add_ms);
  put_search(record, run, measured);
  put_speedup(record, measured);
  put_stats(record, measured);
  record["profile"] = measured.profile;
  put_memory(record, run, measured);
  put_origin(record, run, measured);
  return record;
}

std::string result_hash(const SearchResult& result) {
  Hash hash;
  hash.add(std::span<const idx_t>(result.ids));
  hash.add(std::span<const float>(result.distances));
  return hash.hex();
}

}  // namespace ivf::bench

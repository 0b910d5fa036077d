#include "backends/torch/gpu_sharded.h"

#include <algorithm>

#include <fmt/format.h>

#include "backends/gpu/merge.h"

namespace ivf::detail::torch_backend {
namespace {

/// A corpus on all devices.
struct ShardedCorpus final : Resident {
  std::vector<std::shared_ptr<const Resident>> parts;  ///< One a device.
  bool whole = false;                                  ///< Every device has all rows.
};

/// Queries on all devices, and results of the devices that searched for them last.
struct ShardedQueries final : HeldQueries {
  std::vector<std::unique_ptr<HeldQueries>> of_devices;
  std::size_t nq = 0, k = 0, searched = 0;
  bool inner_product = false;

  void fetch(float* values, idx_t* ids) const override {
    gpu::MergedResults merged(nq, k, inner_product);
    std::vector<float> part_values(nq * k);
    std::vector<idx_t> part_ids(nq * k);
    for (std::size_t i = 0; i < searched; ++i) {
      of_devices[i]->fetch(part_values.data(), part_ids.data());
      merged.add(part_values.data(), part_ids.data(), available_threads());
    }
    std::copy(merged.values().begin(), merged.values().end(), values);
    std::copy(merged.ids().begin(), merged.ids().end(), ids);
  }
};

/// A request as one device gets it.
struct DeviceRequest {
  Corpus corpus, coarse;
  ScanRequest request;
  SearchStats stats;
};

/// The corpus with what a device has of it.
Corpus corpus_of(const Corpus& corpus, std::size_t device) {
  Corpus one = corpus;
  if (const auto* sharded = dynamic_cast<const ShardedCorpus*>(corpus.resident.get()))
    one.resident = sharded->parts[device];
  return one;
}

/// The same request for every device.
class Requests {
 public:
  Requests(Backend& backend, std::size_t devices, const ScanRequest& request) : all_(devices) {
    Corpus corpus = placed(backend, *request.corpus), coarse;
    if (request.coarse != nullptr) coarse = placed(backend, *request.coarse);
    whole_ = static_cast<const ShardedCorpus&>(*corpus.resident).whole;
    auto* held = static_cast<ShardedQueries*>(request.held);
    for (std::size_t i = 0; i < devices; ++i) {
      DeviceRequest& one = all_[i];
      one.request = request;
      one.corpus = corpus_of(corpus, i);
      one.request.corpus = &one.corpus;
      if (request.coarse != nullptr) {
        one.coarse = corpus_of(coarse, i);
        one.request.coarse = &one.coarse;
      }
      if (held != nullptr) one.request.held = held->of_devices[i].get();
      one.request.threads = std::max(1u, request.threads / static_cast<unsigned>(devices));
      if (i != 0) one.request.progress = nullptr;
    }
  }

  DeviceRequest& operator[](std::size_t device) { return all_[device]; }
  /// Every device has all rows: one of them does the work.
  bool whole() const noexcept { return whole_; }

  /// Adds what the devices did. They work at the same time: the slowest is what the search took.
  void add_stats(SearchStats& stats) const {
    const auto took = [](const SearchStats& s) {
      return s.coarse_ms + s.group_ms + s.scan_ms + s.refine_ms + s.merge_ms;
    };
    const auto slowest = std::max_element(all_.begin(), all_.end(),
                                          [&](const auto& a, const auto& b) { return took(a.stats) < took(b.stats); });
    for (const DeviceRequest& one : all_) {
      stats.rows_scanned += one.stats.rows_scanned;
      stats.rows_passed += one.stats.rows_passed;
      stats.rows_refined += one.stats.rows_refined;
      stats.bytes_scanned += one.stats.bytes_scanned;
      stats.host_syncs += one.stats.host_syncs;
    }
    const SearchStats& one = slowest->stats;
    stats.chosen_mode = one.chosen_mode;
    stats.avg_group_size = one.avg_group_size;
    stats.auto_threshold = one.auto_threshold;
    stats.isa = one.isa;
    stats.lists_scanned += one.lists_scanned;
    stats.coarse_ms += one.coarse_ms;
    stats.group_ms += one.group_ms;
    stats.scan_ms += one.scan_ms;
    stats.refine_ms += one.refine_ms;
    stats.merge_ms += one.merge_ms;
    stats.device_phases.insert(stats.device_phases.end(), one.device_phases.begin(), one.device_phases.end());
  }

 private:
  static Corpus placed(Backend& backend, const Corpus& corpus) {
    Corpus result = corpus;
    if (dynamic_cast<const ShardedCorpus*>(corpus.resident.get()) == nullptr) result.resident = backend.load(corpus);
    return result;
  }

  std::vector<DeviceRequest> all_;
  bool whole_ = false;
};

}  // namespace

ShardedBackend::ShardedBackend(std::string name, std::vector<std::unique_ptr<GpuBackend>> devices)
    : name_(std::move(name)), devices_(std::move(devices)), workers_(devices_.size()) {}

DeviceInfo ShardedBackend::device() const {
  DeviceInfo all = first().device();
  all.name = name_;
  all.description = fmt::format("{} x {}", devices_.size(), all.description);
  for (std::size_t i = 1; i < devices_.size(); ++i) {
    const DeviceInfo one = devices_[i]->device();
    all.total_memory += one.total_memory;
    all.free_memory += one.free_memory;
  }
  return all;
}

DevicePeak ShardedBackend::measure_peak() const {
  DevicePeak sum;
  for (const auto& device : devices_) {
    const DevicePeak one = device->measure_peak();
    sum.bytes_per_second += one.bytes_per_second;
    sum.flops_per_second += one.flops_per_second;
  }
  return sum;
}

std::shared_ptr<const Resident> ShardedBackend::load(const Corpus& corpus) {
  auto sharded = std::make_shared<ShardedCorpus>();
  sharded->whole = std::any_of(corpus.segments.begin(), corpus.segments.end(),
                               [](const format::SegmentView& s) { return s.rows != 0 && s.ids.empty(); });
  const std::size_t n = devices_.size();
  const std::uint64_t rows = live_rows(corpus);
  sharded->parts.resize(n);
  workers_.on_each([&](std::size_t i) {
    const gpu::Part part = sharded->whole ? gpu::Part{} : gpu::Part{rows * i / n, rows * (i + 1) / n};
    sharded->parts[i] = devices_[i]->load(corpus, part);
  });
  return sharded;
}

std::unique_ptr<HeldQueries> ShardedBackend::hold_queries(MatrixView queries, std::size_t k) {
  auto held = std::make_unique<ShardedQueries>();
  held->nq = queries.rows;
  held->k = k;
  for (const auto& device : devices_) held->of_devices.push_back(device->hold_queries(queries, k));
  return held;
}

void ShardedBackend::topk(const ScanRequest& request, std::size_t k, float* values, idx_t* ids, SearchStats& stats) {
  Requests requests(*this, devices_.size(), request);
  const bool sharded = !requests.whole() && first().takes(requests[0].request, k);
  if (auto* held = static_cast<ShardedQueries*>(request.held)) {
    held->searched = sharded ? devices_.size() : 1;
    held->inner_product = request.corpus->inner_product;
  }
  // What the engine does not take, the first device does with LibTorch and all rows.
  if (!sharded) return first().topk(requests[0].request, k, values, ids, stats);
  const std::size_t nq = request.queries.rows, results = request.held != nullptr ? 0 : nq * k;
  std::vector<std::vector<float>> part_values(devices_.size());
  std::vector<std::vector<idx_t>> part_ids(devices_.size());
  workers_.on_each([&](std::size_t i) {
    part_values[i].resize(results);
    part_ids[i].resize(results);
    devices_[i]->topk(requests[i].request, k, part_values[i].data(), part_ids[i].data(), requests[i].stats);
  });
  requests.add_stats(stats);
  if (results == 0) return;
  gpu::MergedResults merged(nq, k, request.corpus->inner_product);
  for (std::size_t i = 0; i < devices_.size(); ++i)
    merged.add(part_values[i].data(), part_ids[i].data(), request.threads);
  std::copy(merged.values().begin(), merged.values().end(), values);
  std::copy(merged.ids().begin(), merged.ids().end(), ids);
}

void ShardedBackend::probe(const ScanRequest& request, std::size_t k, std::int32_t* lists, float* bounds,
                           SearchStats& stats) {
  probe_by_topk(*this, request, k, lists, bounds, stats);
}

RangeHits ShardedBackend::range(const ScanRequest& request, float radius, SearchStats& stats) {
  Requests requests(*this, devices_.size(), request);
  if (requests.whole() || !first().takes(requests[0].request, 1))
    return first().range(requests[0].request, radius, stats);
  std::vector<RangeHits> parts(devices_.size());
  workers_.on_each(
      [&](std::size_t i) { parts[i] = devices_[i]->range(requests[i].request, radius, requests[i].stats); });
  requests.add_stats(stats);
  for (std::size_t i = 1; i < parts.size(); ++i)
    gpu::add_hits(parts[0], std::move(parts[i]), request.corpus->inner_product, request.threads);
  return std::move(parts[0]);
}

void ShardedBackend::assign(const Corpus& centroids, MatrixView rows, std::int32_t* list, float* value,
                            unsigned threads) {
  first().assign(corpus_of(centroids, 0), rows, list, value, threads);
}

std::unique_ptr<Backend> one_of(const std::string& name, std::vector<std::unique_ptr<GpuBackend>> devices) {
  if (devices.empty()) return nullptr;
  if (devices.size() == 1) return std::move(devices.front());
  return std::make_unique<ShardedBackend>(name, std::move(devices));
}

std::unique_ptr<HeldRows> ShardedBackend::hold(MatrixView rows, unsigned threads, std::uint64_t max_memory) {
  return first().hold(rows, threads, max_memory);
}

}  // namespace ivf::detail::torch_backend

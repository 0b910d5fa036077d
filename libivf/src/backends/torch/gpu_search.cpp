#include "backends/torch/gpu_search.h"

#include <algorithm>
#include <chrono>

#include "backends/torch/held_rows.h"
#include "parallel.h"
#include "search/plan.h"

namespace ivf::detail::torch_backend {
namespace {

/// Up to this many bytes, copies from memory as it is are quicker than by way of page-locked memory.
constexpr std::uint64_t small_bytes = std::uint64_t{64} << 10;

/// Takes the time of phases.
class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double, std::milli>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

std::shared_ptr<const GpuCorpus> gpu_corpus_of(const std::shared_ptr<GpuDevice>& device, const Corpus& corpus) {
  if (auto there = std::dynamic_pointer_cast<const GpuCorpus>(corpus.resident)) return there;
  return std::make_shared<const GpuCorpus>(device, corpus);
}

GpuSearch::GpuSearch(std::shared_ptr<GpuDevice> device, const ScanRequest& request, std::size_t k, SearchStats& stats)
    : device_(std::move(device)),
      request_(request),
      k_(k),
      stats_(stats),
      corpus_(gpu_corpus_of(device_, *request.corpus)),
      memory_(request.max_memory == 0 ? std::uint64_t{1} << 30 : request.max_memory) {
  if (request.coarse != nullptr) {
    centroids_ = gpu_corpus_of(device_, *request.coarse);
    nprobe_ = request.coarse_nprobe;
  } else if (request.probes.lists != nullptr) {
    nprobe_ = request.probes.nprobe;
  }
}

bool GpuSearch::possible() const noexcept {
  if (corpus_->rows() == nullptr && corpus_->parted() == nullptr) return false;
  if (centroids_ != nullptr && centroids_->rows() == nullptr) return false;
  if (k_ > gpu::Engine::max_k) return false;
  const bool everywhere = centroids_ != nullptr && nprobe_ >= request_.corpus->nlist && request_.max_codes == 0;
  return nprobe_ <= gpu::Engine::max_k || everywhere;
}

std::uint64_t GpuSearch::query_bytes() const noexcept {
  const std::uint64_t lists = request_.probes.lists == nullptr ? 0 : nprobe_ * sizeof(std::int32_t);
  return request_.queries.dim * sizeof(float) + k_ * (sizeof(float) + sizeof(idx_t)) + lists;
}

std::size_t GpuSearch::batch_size() const noexcept {
  // A quarter of the memory for queries and results, the rest for the engine. And no more than a device does in some
  // tenths of a second, so that a search that is abandoned ends soon.
  constexpr double most_products = 5e12;
  const double lists = nprobe_ == 0 ? 1.0
                                    : static_cast<double>(std::min(nprobe_, request_.corpus->nlist)) /
                                          static_cast<double>(request_.corpus->nlist);
  const double products = static_cast<double>(corpus_->count()) * lists * static_cast<double>(request_.queries.dim);
  const auto soon = static_cast<std::size_t>(std::max(most_products / std::max(products, 1.0), 256.0));
  const std::uint64_t fit = std::max<std::uint64_t>(memory_ / 4 / query_bytes(), 1);
  // Every batch brings all parts anew.
  return corpus_->parted() != nullptr ? fit : std::min<std::uint64_t>(soon, fit);
}

void GpuSearch::describe() {
  const std::size_t nlist = request_.corpus->nlist;
  stats_.avg_group_size = average_group(request_.queries.rows, lists_a_query(), nlist);
  stats_.auto_threshold = average_group(gpu::matrix_queries + 1, lists_a_query(), nlist);
  stats_.chosen_mode = choose_mode(request_.mode, stats_.avg_group_size);
}

void GpuSearch::hide_rows() {
  if (request_.corpus->hidden.empty() || corpus_->parted() != nullptr) return;
  device_->run(request_.threads, [&](gpu::Engine& engine) {
    filtered_ = engine.hide(*corpus_->rows(), request_.corpus->hidden, default_stream);
  });
}

template <class Batch>
void GpuSearch::for_batches(Batch batch) {
  const std::size_t nq = request_.queries.rows, size = batch_size();
  for (std::size_t first = 0; first < nq; first += size) {
    const std::size_t count = std::min(size, nq - first);
    batch(first, count);
    stats_.lists_scanned += count * lists_a_query();
    if (request_.progress != nullptr && *request_.progress) (*request_.progress)("search", first + count, nq);
  }
}

void GpuSearch::run(float* values, idx_t* ids) {
  const std::size_t nq = request_.queries.rows;
  describe();
  if (corpus_->count() == 0) {
    std::fill_n(values, nq * k_, nothing());
    std::fill_n(ids, nq * k_, idx_t{-1});
    return;
  }
  hide_rows();
  for_batches(
      [&](std::size_t first, std::size_t count) { run_batch(first, count, values + first * k_, ids + first * k_); });
}

RangeHits GpuSearch::run_range(float radius) {
  RangeHits result;
  result.hits.resize(request_.queries.rows);
  describe();
  if (corpus_->count() == 0) return result;
  hide_rows();
  for_batches([&](std::size_t first, std::size_t count) {
    Stopwatch watch;
    const MatrixView part = request_.queries.slice(first, count);
    const gpu::Rows queries{part.data, count, part.stride, false};
    gpu::Report report;
    gpu::RangeOptions options;
    options.radius = radius;
    options.max_codes = request_.max_codes;
    options.threads = request_.threads;
    options.tuning.workspace = workspace(count);
    options.report = &report;
    auto found = device_->run(request_.threads, [&](gpu::Engine& engine) {
      const gpu::ProbeLists probes{probed_lists(first), nprobe_, false};
      if (gpu::PartedCorpus* parted = corpus_->parted()) {
        return parted->range(placed_centroids(), queries, nprobe_, probes, request_.corpus->hidden, options,
                             default_stream);
      }
      if (centroids_ == nullptr) return engine.range(searched_rows(), queries, probes, options, default_stream);
      return engine.range(*centroids_->rows(), searched_rows(), queries, nprobe_, options, default_stream);
    });
    std::move(found.hits.begin(), found.hits.end(), result.hits.begin() + static_cast<std::ptrdiff_t>(first));
    count_work(report);
    ++stats_.host_syncs;
    stats_.scan_ms += watch.lap();
  });
  return result;
}

GpuQueries::GpuQueries(std::shared_ptr<GpuDevice> device, MatrixView queries, std::size_t k)
    : device_(std::move(device)), queries_(hold_on_device(*device_->runtime(), queries, available_threads())) {
  const Runtime& runtime = *device_->runtime();
  const auto n = static_cast<std::int64_t>(queries.rows), results = static_cast<std::int64_t>(k);
  device_->run(available_threads(), [&](gpu::Engine&) {
    values_ = at::empty({n, results}, runtime.options(at::kFloat));
    ids_ = at::empty({n, results}, runtime.options(at::kLong));
  });
}

void GpuQueries::fetch(float* values, idx_t* ids) const {
  const unsigned threads = available_threads();
  device_->run(threads, [&](gpu::Engine&) {
    SearchStats unused;
    Download download(*device_->runtime());
    const at::Tensor found_values = download.add(values_), found_ids = download.add(ids_);
    download.finish(unused);
    copy_out(found_values, values, threads);
    copy_out(found_ids, ids, threads);
  });
}

void GpuSearch::run_held() {
  auto& held = dynamic_cast<GpuQueries&>(*request_.held);
  device_->run(request_.threads, [&](gpu::Engine& engine) {
    if (corpus_->count() == 0) {
      held.values_.fill_(nothing());
      held.ids_.fill_(-1);
      return;
    }
    const auto nq = static_cast<std::size_t>(held.queries_.size(0));
    put(engine, {held.queries_.data_ptr<float>(), nq, 0, true}, {},
        {held.values_.data_ptr<float>(), held.ids_.data_ptr<std::int64_t>(), nullptr, true}, false);
    wait_for(*device_->runtime());
  });
}

void GpuSearch::run_batch(std::size_t first, std::size_t count, float* values, idx_t* ids) {
  const Runtime& runtime = *device_->runtime();
  const MatrixView queries = request_.queries.slice(first, count);
  const std::int32_t* lists = probed_lists(first);
  Stopwatch watch;
  if (corpus_->parted() != nullptr || count * query_bytes() <= small_bytes) {
    device_->run(request_.threads, [&](gpu::Engine& engine) {
      put(engine, {queries.data, count, queries.stride, false}, {lists, nprobe_, false}, {values, ids, nullptr, false},
          true);
    });
    ++stats_.host_syncs;
    if (!request_.profile) stats_.scan_ms += watch.lap();
    return;
  }
  const auto n = static_cast<std::int64_t>(count), k = static_cast<std::int64_t>(k_);
  at::Tensor found_values, found_ids;
  device_->run(request_.threads, [&](gpu::Engine& engine) {
    const at::Tensor placed = upload_rows(runtime, queries, request_.threads);
    const at::Tensor placed_lists = lists == nullptr ? at::Tensor() : runtime.upload(lists, count * nprobe_, at::kInt);
    found_values = at::empty({n, k}, runtime.options(at::kFloat));
    found_ids = at::empty({n, k}, runtime.options(at::kLong));
    if (!request_.profile) stats_.group_ms += watch.lap();
    put(engine, {placed.data_ptr<float>(), count, 0, true},
        {lists == nullptr ? nullptr : placed_lists.data_ptr<std::int32_t>(), nprobe_, true},
        {found_values.data_ptr<float>(), found_ids.data_ptr<std::int64_t>(), nullptr, true}, true);
    Download download(runtime);
    found_values = download.add(found_values);
    found_ids = download.add(found_ids);
    ++stats_.host_syncs;  // For the engine's counts; the other is the download's.
    download.finish(stats_);
  });
  const double on_device = watch.lap();
  if (!request_.profile) stats_.scan_ms += on_device;
  copy_out(found_values, values, request_.threads);
  copy_out(found_ids, ids, request_.threads);
  stats_.merge_ms += watch.lap();
}

void GpuSearch::put(gpu::Engine& engine, const gpu::Rows& queries, const gpu::ProbeLists& probes,
                    const gpu::Results& results, bool counted) {
  gpu::Report report;
  gpu::SearchOptions options;
  options.k = k_;
  options.max_codes = request_.max_codes;
  options.mode = request_.mode;
  options.tuning.workspace = workspace(queries.rows);
  options.report = counted ? &report : nullptr;
  options.timed = request_.profile;
  if (gpu::PartedCorpus* parted = corpus_->parted()) {
    parted->search(placed_centroids(), queries, nprobe_, probes, request_.corpus->hidden, options, results,
                   default_stream);
  } else if (centroids_ != nullptr) {
    engine.search(*centroids_->rows(), searched_rows(), queries, nprobe_, options, results, default_stream);
  } else {
    engine.topk(searched_rows(), queries, probes, options, results, default_stream);
  }
  if (!counted) return;
  stats_.chosen_mode = report.mode;
  count_work(report);
}

void GpuSearch::count_work(const gpu::Report& report) {
  stats_.bytes_scanned += report.bytes_read;
  stats_.rows_scanned += report.rows_scanned;
  stats_.rows_passed += report.candidates;
  stats_.rows_refined += report.rows_refined;
  if (!request_.profile) return;
  for (const gpu::Report::Phase& phase : report.phases) {
    const std::string_view name = phase.name;
    const double ms = static_cast<double>(phase.ms);
    stats_.device_phases.push_back({phase.name, ms});
    (name.starts_with("coarse")             ? stats_.coarse_ms
     : name == "prepare" || name == "group" ? stats_.group_ms
     : name == "finish"                     ? stats_.refine_ms
                                            : stats_.scan_ms) += ms;
  }
}

}  // namespace ivf::detail::torch_backend

#include "bench_session.h"

#include <algorithm>

#include "bench/element_type.h"
#include "bench/faiss_module.h"
#include "bench/machine.h"
#include "bench/resident.h"
#include "ivf/format/container.hpp"
#include "message.h"
#include "version.h"

namespace ivf::cli {
namespace {

/// OpenMP threads of faiss spin for some milliseconds after their work before they sleep.
constexpr double settle_between_libraries_ms = 30;

/// Queries of a run: whole batches, at least `min_queries` in all.
std::uint64_t queries_of_run(std::uint64_t nq, std::uint64_t min_queries) {
  return nq * std::max<std::uint64_t>(1, (min_queries + nq - 1) / nq);
}

/// Times one step of a build.
template <class Work>
void timed(std::vector<double>& milliseconds, std::uint64_t& peak_bytes, const Work& work) {
  const bench::PeakMemory memory;
  const Stopwatch watch;
  work();
  milliseconds.push_back(watch.milliseconds());
  peak_bytes = std::max(peak_bytes, memory.bytes());
}

std::uint64_t grown_since(std::uint64_t before) {
  const std::uint64_t now = bench::resident_bytes();
  return now > before ? now - before : 0;
}

}  // namespace

BenchSession::BenchSession(Context& context, const BenchOptions& options, const char* command, std::uint64_t most_nq,
                           Wanted wanted)
    : context_(context), options_(options), wanted_(wanted) {
  const bool side_by_side = options.libraries.size() > 1;
  run_.command = command;
  run_.protocol = {static_cast<std::size_t>(options.warmup), static_cast<std::size_t>(options.repeat),
                   side_by_side ? settle_between_libraries_ms : 0};
  run_.ivf_version = version();
  run_.ivf_commit = commit();
  run_.compiler = compiler();
  run_.label = options.label;
  run_.max_memory = context.options.memory();
  run_.seed = options.seed();
  run_.resident = options.resident;
  run_.dtype = bench::element_type_name(options.dtype.value_or(DeviceType::float32));
  if (options.runs(Library::faiss)) bench::require_faiss_module();
  if (options.runs(Library::ivf)) require_device();

  std::unique_ptr<Index> opened;
  if (!options.index.empty()) {
    opened = load_index(options.index, run_options());
    run_.metric = opened->metric();
    run_.dim = opened->dim();
  }
  work_ =
      load_workload(options, run_.dim, run_.metric, queries_of_run(most_nq, options.min_queries()), context.console);
  run_.queries = work_.source;
  run_.metric = work_.metric;
  if (!options.ann_benchmarks.empty()) ann_benchmarks_.emplace(options.ann_benchmarks, run_, options.force);
  if (opened) {
    use_index(std::move(opened));
  } else {
    settle_sizes();
    if (options.runs(Library::ivf)) build_ivf();
    if (options.runs(Library::faiss)) build_faiss();
  }
}

/// What the device cannot do is said before any work is done.
void BenchSession::require_device() const {
  IndexFlat nothing(1, Metric::l2);
  nothing.to(options_.placement());
  if (!options_.resident) return;
  const float query = 0;
  nothing.place_queries(MatrixView(&query, 1, 1), {});
}

RunOptions BenchSession::run_options() const {
  RunOptions options = context_.options.run(Console::interrupt_only());
  if (options.threads == 0) options.threads = available_threads();
  return options;
}

bench::IndexSettings BenchSession::index_settings() const {
  return {run_.dim, run_.nlist, run_.metric, run_.seed, run_options().threads};
}

void BenchSession::use_index(std::unique_ptr<Index> index) {
  const IndexInfo info = index->info();
  if (info.rows == 0) misuse("{}: holds no rows; add some with `ivf add`", options_.index);
  if (info.flat && options_.runs(Library::faiss)) {
    misuse("{}: is a flat index; --library faiss measures indexes with lists", options_.index);
  }
  run_.index = run_.dataset = options_.index;
  run_.nb = info.rows;
  run_.nlist = info.nlist;
  run_.seed = info.seed;
  ivf_built_.hash = format::Snapshot::open(options_.index)->hash();
  const Placement place = options_.runs(Library::ivf) ? options_.placement() : Placement();
  ivf_ = std::make_unique<bench::IvfEngine>(std::move(index), run_options(), place);
  if (options_.runs(Library::faiss)) give_lists_to_faiss();
}

void BenchSession::settle_sizes() {
  run_.dataset = work_.dataset;
  run_.dim = work_.dim;
  run_.metric = work_.metric;
  run_.nb = work_.nb();
  run_.nlist = static_cast<std::size_t>(options_.nlist.value_or(options_.defaults.nlist));
  if (run_.nlist > run_.nb) misuse("--nlist: {} lists need at least as many rows, there are {}", run_.nlist, run_.nb);
  std::uint64_t train_n = options_.train_n.value_or(options_.defaults.train_n);
  if (train_n == 0) train_n = 2 * run_.nlist;
  run_.train_n = std::min<std::uint64_t>(train_n, run_.nb);
  if (*run_.train_n < run_.nlist) {
    misuse("--train-n: {} rows are too few to train {} lists", *run_.train_n, run_.nlist);
  }
}

void BenchSession::build_ivf() {
  for (std::uint64_t i = 0; i < options_.build_repeat; ++i) {
    context_.console.progress("building", i, options_.build_repeat);
    ivf_.reset();
    const std::uint64_t before = bench::resident_bytes();
    ivf_ = std::make_unique<bench::IvfEngine>(index_settings(), run_options(), options_.placement());
    const MatrixView base = work_.base_view();
    bench::BuildTimes& times = ivf_built_.times;
    timed(times.train_ms, times.train_peak_bytes, [&] { ivf_->train(base.slice(0, *run_.train_n)); });
    times.train_reserved_bytes = ivf_->device_memory_in_use();
    timed(times.add_ms, times.add_peak_bytes, [&] { ivf_->add(base); });
    times.add_reserved_bytes = ivf_->device_memory_in_use();
    times.index_bytes = times.add_reserved_bytes.value_or(grown_since(before));
  }
  ivf_built_.hash = ivf_->contents_hash();
  context_.console.clear();
}

void BenchSession::build_faiss() {
  for (std::uint64_t i = 0; i < options_.build_repeat; ++i) {
    context_.console.progress("building faiss", i, options_.build_repeat);
    faiss_.reset();
    faiss_ = bench::make_faiss_engine(index_settings());
    const std::uint64_t before = bench::resident_bytes();
    const MatrixView base = work_.base_view();
    bench::BuildTimes& times = faiss_built_.times;
    if (options_.same_centroids) {
      faiss_->set_centroids(ivf_->lists()->centroids());
    } else {
      timed(times.train_ms, times.train_peak_bytes, [&] { faiss_->train(base.slice(0, *run_.train_n)); });
    }
    timed(times.add_ms, times.add_peak_bytes, [&] { faiss_->add(base); });
    times.index_bytes = grown_since(before);
  }
  if (options_.same_centroids) faiss_built_.centroids = "ivf";
  context_.console.clear();
}

void BenchSession::give_lists_to_faiss() {
  faiss_ = bench::make_faiss_engine(index_settings());
  const IndexIVFFlat& index = *ivf_->lists();
  faiss_->set_centroids(index.centroids());
  for (std::size_t list = 0; list < run_.nlist; ++list) {
    context_.console.progress("copying lists", list, run_.nlist);
    faiss_->add_to_list(list, index.list_ids(list), index.list_vectors(list));
  }
  faiss_built_.centroids = "ivf";
  context_.console.clear();
}

bench::Batches BenchSession::batches_for(const BenchPoint& point) const {
  const std::uint64_t nq = std::min<std::uint64_t>(point.nq, work_.nq());
  const std::uint64_t wanted =
      std::min<std::uint64_t>(queries_of_run(nq, options_.min_queries()), work_.nq() / nq * nq);
  return {work_.query_view().slice(0, static_cast<std::size_t>(wanted)), static_cast<std::size_t>(nq)};
}

std::vector<bench::Json> BenchSession::measure(const BenchPoint& point) {
  const bench::Batches batches = batches_for(point);
  bench::SearchSettings settings;
  settings.k = static_cast<std::size_t>(options_.k());
  settings.nprobe = static_cast<std::size_t>(std::min<std::uint64_t>(point.nprobe, run_.nlist));
  settings.max_codes = point.max_codes;
  settings.profile = wanted_.profile;
  std::vector<bench::Contender> contenders;
  if (options_.runs(Library::ivf)) {
    for (const SearchMode mode : options_.modes) {
      settings.mode = mode;
      contenders.push_back({ivf_.get(), settings, nullptr});
    }
  }
  if (options_.runs(Library::faiss)) contenders.push_back({faiss_.get(), settings, nullptr});

  std::vector<std::unique_ptr<bench::ResidentSearcher>> resident;
  for (bench::Contender& contender : contenders) {
    if (!options_.resident) break;
    resident.push_back(std::make_unique<bench::ResidentSearcher>(*ivf_, batches, contender.settings));
    contender.searcher = resident.back().get();
  }
  auto measurements = bench::measure(contenders, batches, run_.protocol, [this](std::size_t done, std::size_t total) {
    context_.console.progress("measuring", done, total);
  });
  for (std::size_t i = 0; i < resident.size(); ++i) resident[i]->complete(measurements[i]);
  context_.console.clear();

  const bool compared = options_.runs(Library::ivf) && options_.runs(Library::faiss);
  std::vector<bench::Json> records;
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    const bool ours = contenders[i].engine == ivf_.get();
    records.push_back(
        record(contenders[i], batches, measurements[i], compared && ours ? &measurements.back() : nullptr));
  }
  return records;
}

bench::Json BenchSession::record(const bench::Contender& contender, const bench::Batches& batches,
                                 const bench::Measurement& measurement, const bench::Measurement* reference) {
  const Built& built = contender.engine == ivf_.get() ? ivf_built_ : faiss_built_;
  bench::Measured measured;
  measured.library = contender.engine->info();
  measured.centroids = built.centroids;
  measured.index_hash = built.hash;
  measured.build = built.times;
  measured.settings = contender.settings;
  measured.nq = batches.batch;
  measured.batches = batches.count();
  measured.measurement = &measurement;
  measured.reserved_bytes = contender.engine->device_memory_in_use();
  if (wanted_.recall) measured.recall = recall(measurement);
  if (wanted_.recall_vs_unlimited) measured.recall_vs_unlimited = recall_vs_unlimited(contender, batches, measurement);
  if (wanted_.profile && contender.engine == ivf_.get()) measured.profile = profile(contender, batches, measurement);
  if (reference) {
    measured.reference = reference;
    measured.reference_library = faiss_->info().library;
  }
  if (ann_benchmarks_) ann_benchmarks_->add(run_, measured);
  return bench::make_record(run_, measured);
}

void BenchSession::finish() {
  if (!ann_benchmarks_) return;
  const std::size_t files = ann_benchmarks_->write();
  context_.console.note(
      fmt::format("{} for ann-benchmarks written below {}", counted(files, "file"), options_.ann_benchmarks));
}

bench::Json BenchSession::profile(const bench::Contender& contender, const bench::Batches& batches,
                                  const bench::Measurement& measurement) {
  const auto with_peak = [&](const DevicePeak& peak) {
    return bench::make_profile(measurement, contender.settings, batches.count(), run_.dim, run_.nlist, peak);
  };
  // What LibTorch could do at best is not known.
  const bench::LibraryInfo library = contender.engine->info();
  const std::string& isa = measurement.result.stats.isa;
  if (library.kernels != "native" || isa.starts_with("torch")) return with_peak({});
  auto peak = peaks_.find(isa);
  if (peak == peaks_.end()) {
    const bool cpu = library.device == "cpu";
    peak = peaks_.emplace(isa, cpu ? bench::machine_peak(isa, library.threads) : ivf_->index().measure_peak()).first;
  }
  return with_peak(peak->second);
}

double BenchSession::recall(const bench::Measurement& measurement) {
  const std::size_t k = measurement.result.k, nq = measurement.result.nq;
  const std::size_t known = truth_.size() / k;
  if (known < nq) {
    if (!ivf_ && !exact_) {
      exact_ = std::make_unique<IndexFlat>(run_.dim, run_.metric);
      exact_->add(work_.base_view(), run_options());
    }
    const Index& index = ivf_ ? ivf_->index() : *exact_;
    SearchParams params;
    static_cast<RunOptions&>(params) = context_.options.run(context_.console.callback());
    params.k = k;
    const SearchResult exact = index.search_exact(work_.query_view().slice(known, nq - known), params);
    truth_.insert(truth_.end(), exact.ids.begin(), exact.ids.end());
    context_.console.clear();
  }
  return recall_at_k(measurement.result.ids, k, std::span(truth_).first(nq * k), k, nq, k);
}

double BenchSession::recall_vs_unlimited(const bench::Contender& contender, const bench::Batches& batches,
                                         const bench::Measurement& measurement) {
  std::vector<idx_t>& all = unlimited_[contender.engine];
  if (contender.settings.max_codes == 0) {
    all = measurement.result.ids;
  } else if (all.size() != measurement.result.ids.size()) {
    bench::SearchSettings settings = contender.settings;
    settings.max_codes = 0;
    all = contender.engine->search(batches.queries, settings).ids;
  }
  const std::size_t k = measurement.result.k;
  return recall_at_k(measurement.result.ids, k, all, k, measurement.result.nq, k);
}

}  // namespace ivf::cli

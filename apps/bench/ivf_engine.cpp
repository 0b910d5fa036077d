#include "bench/ivf_engine.h"

#include "bench/hash.h"

namespace ivf::bench {

namespace {

/// Free memory of a device before anything of an index is there; 0 for the CPU, or when not known.
std::uint64_t free_memory(const Placement& placement) {
  if (placement.device == "cpu") return 0;
  IndexFlat nothing(1, Metric::l2);
  nothing.to(placement);
  return nothing.device().free_memory;
}

/// The runtime of a device as torch-ivf's records name it.
std::string runtime_name(const std::string& kind) {
  if (kind == "cpu") return "CPU";
  if (kind == "dml") return "DirectML";
  const std::string runtime = torch_info().runtime;
  return runtime.starts_with("HIP ") ? "ROCm " + runtime.substr(4) : runtime;
}

LibraryInfo describe(const Index& index, const RunOptions& options) {
  const DeviceInfo device = index.device();
  LibraryInfo info;
  info.library = "ivf";
  info.kernels = device.backend;
  info.threads = options.threads ? options.threads : available_threads();
  info.device = index.placement().device;
  info.device_name = device.description;
  info.device_bytes = device.total_memory;
  info.backend = runtime_name(DeviceName::parse(info.device).kind);
  // Kernels of ivf have their memory from LibTorch on every device but the CPU.
  if (info.kernels == "torch" || info.device != "cpu") info.torch_version = torch_info().version;
  return info;
}

}  // namespace

IvfEngine::IvfEngine(const IndexSettings& settings, RunOptions options, const Placement& placement)
    : IvfEngine(std::make_unique<IndexIVFFlat>(settings.dim, settings.nlist, settings.metric), std::move(options),
                placement) {
  seed_ = settings.seed;
}

IvfEngine::IvfEngine(std::unique_ptr<Index> index, RunOptions options, const Placement& placement)
    : index_(std::move(index)), options_(std::move(options)) {
  free_before_ = free_memory(placement);
  index_->to(placement);
  info_ = describe(*index_, options_);
}

std::optional<std::uint64_t> IvfEngine::device_memory_in_use() const {
  if (free_before_ == 0) return std::nullopt;
  const std::uint64_t free = index_->device().free_memory;
  return free_before_ > free ? free_before_ - free : 0;
}

void IvfEngine::train(MatrixView rows) {
  TrainParams params;
  static_cast<RunOptions&>(params) = options_;
  params.seed = seed_;
  dynamic_cast<IndexIVFFlat&>(*index_).train(rows, params);
  index_->to(Placement(index_->placement()));
}

void IvfEngine::add(MatrixView rows) {
  index_->add(rows, options_);
  index_->to(Placement(index_->placement()));
}

SearchResult IvfEngine::search(MatrixView queries, const SearchSettings& settings) const {
  return index_->search(queries, params_of(settings));
}

std::unique_ptr<PlacedQueries> IvfEngine::place(MatrixView queries, const SearchSettings& settings) const {
  return index_->place_queries(queries, params_of(settings));
}

SearchParams IvfEngine::params_of(const SearchSettings& settings) const {
  SearchParams params;
  static_cast<RunOptions&>(params) = options_;
  params.k = settings.k;
  params.nprobe = settings.nprobe;
  params.max_codes = settings.max_codes;
  params.mode = settings.mode;
  params.profile = settings.profile;
  return params;
}

std::string IvfEngine::contents_hash() const {
  const IndexIVFFlat* index = lists();
  if (!index) return "";
  Hash hash;
  hash.add(std::span<const float>(index->centroids()));
  const std::size_t nlist = index->info().nlist;
  for (std::size_t list = 0; list < nlist; ++list) {
    hash.add(std::span<const idx_t>(index->list_ids(list)));
    hash.add(std::span<const float>(index->list_vectors(list)));
  }
  return hash.hex();
}

}  // namespace ivf::bench

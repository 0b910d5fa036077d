#include "bench/ivf_engine.h"

#include "bench/hash.h"

namespace ivf::bench {

IvfEngine::IvfEngine(const IndexSettings& settings, RunOptions options)
    : index_(std::make_unique<IndexIVFFlat>(settings.dim, settings.nlist, settings.metric)),
      options_(std::move(options)),
      seed_(settings.seed) {}

IvfEngine::IvfEngine(std::unique_ptr<Index> index, RunOptions options)
    : index_(std::move(index)), options_(std::move(options)) {}

LibraryInfo IvfEngine::info() const {
  return {"ivf", "CPU", "", "", options_.threads ? options_.threads : available_threads()};
}

void IvfEngine::train(MatrixView rows) {
  TrainParams params;
  static_cast<RunOptions&>(params) = options_;
  params.seed = seed_;
  dynamic_cast<IndexIVFFlat&>(*index_).train(rows, params);
}

void IvfEngine::add(MatrixView rows) { index_->add(rows, options_); }

SearchResult IvfEngine::search(MatrixView queries, const SearchSettings& settings) const {
  SearchParams params;
  static_cast<RunOptions&>(params) = options_;
  params.k = settings.k;
  params.nprobe = settings.nprobe;
  params.max_codes = settings.max_codes;
  params.mode = settings.mode;
  return index_->search(queries, params);
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

#pragma once
/// \file
/// A corpus that stays in host memory and is searched part by part, for what does not fit on the device.

#include <memory>

#include "backends/gpu/engine.h"

namespace ivf::detail::gpu {

/// Searches a corpus through two parts in device memory: while one is searched, the next is copied. Lists that no query
/// of a call looks at are not copied. Results are those of the whole corpus, to the last bit.
class PartedCorpus {
 public:
  /// What the corpus views must outlive this. `memory` is what both parts take on the device at most; throws
  /// Error(failed) when it does not hold two groups of eight rows and the tables of the lists. `threads` as in
  /// Engine::load(); `part` is what is searched of the corpus.
  PartedCorpus(Engine& engine, const Corpus& corpus, std::uint64_t memory, unsigned threads = 0, const Part& part = {});
  ~PartedCorpus();
  PartedCorpus(const PartedCorpus&) = delete;
  PartedCorpus& operator=(const PartedCorpus&) = delete;

  /// As Engine::topk(), and as Engine::search() when there are centroids (`nprobe` lists; `probes` is then not looked
  /// at). `hidden` as in Engine::hide(); empty: only removed rows are left out. Waits for the device.
  void search(const DeviceCorpus* centroids, const Rows& queries, std::size_t nprobe, const ProbeLists& probes,
              HiddenRows hidden, const SearchOptions& options, const Results& results, StreamHandle stream);
  /// As Engine::range(), with the same choice.
  RangeHits range(const DeviceCorpus* centroids, const Rows& queries, std::size_t nprobe, const ProbeLists& probes,
                  HiddenRows hidden, const RangeOptions& options, StreamHandle stream);
  /// Parts that the last call copied.
  std::size_t parts() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ivf::detail::gpu

#pragma once
/// \file
/// Searches of queries that lie on the device, whose results stay there: what published figures of GPUs measure.

#include <memory>
#include <vector>

#include "bench/ivf_engine.h"
#include "bench/measure.h"

namespace ivf::bench {

/// The searches of an engine with queries that it was made with, which return nothing.
class ResidentSearcher final : public Searcher {
 public:
  /// Brings the queries to the device. Throws Error(misuse) where there is none that has memory of its own.
  ResidentSearcher(const IvfEngine& engine, const Batches& batches, const SearchSettings& settings);

  LibraryInfo info() const override { return engine_.info(); }
  SearchResult search(MatrixView queries, const SearchSettings& settings) const override;

  /// Gives a measurement what its searches left on the device, and the statistics of the same searches as they usually
  /// are. Throws Error(failed) unless these find the same, to the last bit.
  void complete(Measurement& measurement) const;

 private:
  const IvfEngine& engine_;
  Batches batches_;
  SearchSettings settings_;
  std::vector<std::unique_ptr<PlacedQueries>> placed_;  ///< One a batch.
};

}  // namespace ivf::bench

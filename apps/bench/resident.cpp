#include "bench/resident.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "ivf/error.hpp"

namespace ivf::bench {
namespace {

bool same_bits(const SearchResult& a, const SearchResult& b) {
  return a.ids == b.ids && a.distances.size() == b.distances.size() &&
         std::memcmp(a.distances.data(), b.distances.data(), a.distances.size() * sizeof(float)) == 0;
}

}  // namespace

ResidentSearcher::ResidentSearcher(const IvfEngine& engine, const Batches& batches, const SearchSettings& settings)
    : engine_(engine), batches_(batches), settings_(settings) {
  for (std::size_t i = 0; i < batches.count(); ++i) {
    placed_.push_back(engine.place(batches.queries.slice(i * batches.batch, batches.batch), settings));
  }
}

SearchResult ResidentSearcher::search(MatrixView queries, const SearchSettings&) const {
  const auto row = static_cast<std::size_t>(queries.data - batches_.queries.data) / batches_.queries.stride;
  placed_[row / batches_.batch]->search();
  return {};
}

void ResidentSearcher::complete(Measurement& measurement) const {
  SearchResult all;
  for (std::size_t i = 0; i < placed_.size(); ++i) {
    SearchResult left = placed_[i]->results();
    const SearchResult usual = engine_.search(batches_.queries.slice(i * batches_.batch, batches_.batch), settings_);
    if (!same_bits(left, usual)) {
      throw Error(ErrorKind::failed,
                  fmt::format("expected of queries that stay on {} what a search from the host finds, found other "
                              "results in batch {}; please report it with the index",
                              engine_.info().device, i));
    }
    left.stats = usual.stats;
    append(all, left);
  }
  // The searches that were measured waited for the device once each, and counted nothing.
  all.stats.host_syncs = placed_.size();
  measurement.stats.assign(measurement.stats.size(), all.stats);
  measurement.result = std::move(all);
}

}  // namespace ivf::bench

#pragma once
/// \file
/// A corpus in memory beside what the oracle needs of it, and the comparison of the engine's results with the oracle's.

#include <cstdint>
#include <string>
#include <vector>

#include "backends/gpu/engine.h"
#include "rows.h"
#include "support/oracle.h"
#include "support/shapes.h"

namespace ivf::support {

/// Whether there is a device; says that tests are skipped when there is none.
bool have_device();
/// A size on a real device, or a smaller one that shows the same where devices are emulated.
std::size_t scaled(std::size_t on_device, std::size_t in_emulation);
/// The engine on device 0, shared by all tests.
detail::gpu::Engine& engine();

/// Rows in lists, in one or two segments.
class ListedRows {
 public:
  /// `list_of[i]` is the list of row i. `ids` may be empty: positions are ids.
  ListedRows(Metric metric, std::vector<float> rows, std::size_t d, std::vector<idx_t> ids,
             const std::vector<std::int32_t>& list_of, std::size_t nlist, std::size_t segments);
  ListedRows(const ListedRows&) = delete;
  ListedRows& operator=(const ListedRows&) = delete;

  const detail::Corpus& corpus() const { return corpus_; }
  const detail::gpu::DeviceCorpus& device() const { return *device_; }
  std::size_t nlist() const { return lists_.size(); }
  oracle::Rows rows() const { return {rows_, ids_, d_}; }
  /// Positions of the rows of some lists, in scan order, at most `max_codes` (0: all).
  std::vector<std::size_t> candidates(const std::int32_t* lists, std::size_t nprobe, std::uint64_t max_codes) const;
  /// The same of all lists.
  std::vector<std::size_t> everything(std::uint64_t max_codes) const;

 private:
  struct Segment {
    std::vector<std::uint64_t> offsets;
    std::vector<idx_t> ids;
    detail::OwnedPlanes planes;
    std::vector<float> residuals;
  };
  void add_segment(std::size_t first, std::size_t last, const std::vector<std::int32_t>& list_of);

  std::size_t d_;
  std::vector<float> rows_;
  std::vector<idx_t> ids_;
  std::vector<std::vector<std::size_t>> lists_;
  std::vector<std::unique_ptr<Segment>> segments_;
  detail::Corpus corpus_;
  std::unique_ptr<detail::gpu::DeviceCorpus> device_;
};

/// Results in host memory, of nq queries with k each; before a search they hold what none finds.
struct Found {
  Found(std::size_t nq, std::size_t k) : values(nq * k, -7.0f), ids(nq * k, -7) {}
  detail::gpu::Results results() { return {values.data(), ids.data(), nullptr, false}; }

  std::vector<float> values;
  std::vector<std::int64_t> ids;
  detail::gpu::Report report;
};

/// "" when the results of query q are these hits, to the last bit; otherwise what differs.
std::string difference(const Found& found, std::size_t q, const std::vector<oracle::Hit>& expected);

}  // namespace ivf::support

#include "gpu/gpu_fixture.h"

#include <bit>
#include <iostream>
#include <numeric>
#include <sstream>

#include "gpu/device_memory.h"

namespace ivf::support {

using detail::gpu::Engine;

bool have_device() {
  static const bool found = [] {
    const bool any = detail::gpu::device_count() > 0;
    if (!any) std::cout << "skipped: there is no CUDA device\n";
    return any;
  }();
  return found;
}

std::size_t scaled(std::size_t on_device, std::size_t in_emulation) { return emulated() ? in_emulation : on_device; }

Engine& engine() {
  static Engine one(0, detail::gpu::pool_allocator());
  return one;
}

ListedRows::ListedRows(Metric metric, std::vector<float> rows, std::size_t d, std::vector<idx_t> ids,
                       const std::vector<std::int32_t>& list_of, std::size_t nlist, std::size_t segments)
    : d_(d), rows_(std::move(rows)), ids_(std::move(ids)), lists_(nlist) {
  const std::size_t n = rows_.size() / d;
  const bool numbered = ids_.empty();
  if (numbered) {
    ids_.resize(n);
    std::iota(ids_.begin(), ids_.end(), idx_t{0});
  }
  for (std::size_t i = 0; i < n; ++i) lists_[static_cast<std::size_t>(list_of[i])].push_back(i);
  for (std::size_t s = 0; s < segments; ++s) add_segment(n * s / segments, n * (s + 1) / segments, list_of);
  corpus_.dim = d;
  corpus_.inner_product = metric != Metric::l2;
  corpus_.nlist = nlist;
  corpus_.rows = n;
  for (const auto& owned : segments_) {
    format::SegmentView view;
    view.rows = owned->ids.size();
    view.offsets = owned->offsets;
    // A corpus without ids counts positions in its own order, which is ours with one list and one segment only.
    if (!(numbered && segments == 1 && nlist == 1)) view.ids = owned->ids;
    view.planes = owned->planes.view(d);
    view.residuals = owned->residuals;
    corpus_.segments.push_back(view);
  }
  device_ = engine().load(corpus_, nullptr);
}

void ListedRows::add_segment(std::size_t first, std::size_t last, const std::vector<std::int32_t>& list_of) {
  auto segment = std::make_unique<Segment>();
  segment->offsets.push_back(0);
  std::vector<float> ordered;
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    const std::size_t begin = ordered.size();
    for (std::size_t i = first; i < last; ++i) {
      if (static_cast<std::size_t>(list_of[i]) != l) continue;
      ordered.insert(ordered.end(), &rows_[i * d_], &rows_[i * d_] + d_);
      segment->ids.push_back(ids_[i]);
    }
    segment->offsets.push_back(segment->ids.size());
    segment->residuals.push_back(detail::residual_bound(ordered.data() + begin, (ordered.size() - begin) / d_, d_));
  }
  segment->planes = detail::OwnedPlanes::from(MatrixView(ordered.data(), ordered.size() / d_, d_));
  segments_.push_back(std::move(segment));
}

std::vector<std::size_t> ListedRows::candidates(const std::int32_t* lists, std::size_t nprobe,
                                                std::uint64_t max_codes) const {
  std::vector<std::size_t> rows;
  for (std::size_t r = 0; r < nprobe; ++r) {
    if (lists[r] < 0) continue;
    const auto& list = lists_[static_cast<std::size_t>(lists[r])];
    rows.insert(rows.end(), list.begin(), list.end());
  }
  if (max_codes != 0 && rows.size() > max_codes) rows.resize(max_codes);
  return rows;
}

std::vector<std::size_t> ListedRows::everything(std::uint64_t max_codes) const {
  std::vector<std::int32_t> all(lists_.size());
  std::iota(all.begin(), all.end(), 0);
  return candidates(all.data(), all.size(), max_codes);
}

std::string difference(const Found& found, std::size_t q, const std::vector<oracle::Hit>& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const float value = found.values[q * expected.size() + i];
    const std::int64_t id = found.ids[q * expected.size() + i];
    if (id == expected[i].id && std::bit_cast<std::uint32_t>(value) == std::bit_cast<std::uint32_t>(expected[i].value))
      continue;
    std::ostringstream text;
    text.precision(9);
    text << "query " << q << " result " << i << ": expected id " << expected[i].id << " value " << expected[i].value
         << ", found id " << id << " value " << value;
    return text.str();
  }
  return "";
}

}  // namespace ivf::support

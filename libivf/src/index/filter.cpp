#include "index/filter.h"

#include <algorithm>
#include <limits>

#include "ivf/format/row_bits.hpp"
#include "parallel.h"

namespace ivf::detail {
AllowedRows::AllowedRows(std::span<const format::SegmentView> segments, const Filter& filter, unsigned threads) {
  for (const auto& segment : segments) {
    hidden.push_back(hidden_rows(segment, *filter.ids, filter.forbid, threads));
    count += segment.rows - format::count_rows(hidden.back());
  }
}

bool scans_directly(const SearchParams& params, const AllowedRows& allowed, std::uint64_t rows, std::uint64_t nlist) {
  if (params.filter.plan != FilterPlan::automatic) return params.filter.plan == FilterPlan::direct;
  // Copying a row costs about as much as scanning it a few times.
  constexpr double copies = 4;
  if (nlist == 1 && params.max_codes == 0)
    return static_cast<double>(allowed.count) * copies <= static_cast<double>(rows);
  double scanned = static_cast<double>(rows) * static_cast<double>(std::min<std::uint64_t>(params.nprobe, nlist)) /
                   static_cast<double>(nlist);
  if (params.max_codes != 0) scanned = std::min(scanned, static_cast<double>(params.max_codes));
  return static_cast<double>(allowed.count) <= scanned;
}

AllowedBlocks::AllowedBlocks(const Corpus& corpus, const AllowedRows& allowed, const Resources& resources)
    : corpus_(corpus), allowed_(allowed), left_(allowed.count) {
  const std::uint64_t row_bytes = corpus.dim * 2 * sizeof(std::uint16_t) + sizeof(idx_t) + sizeof(float);
  block_rows_ = std::clamp<std::uint64_t>(resources.max_memory / 2 / row_bytes, 1, max_segment_rows);
  for (const auto& segment : corpus.segments) {
    // A bound of all lists holds for the rows of any.
    if (segment.residuals.empty()) residual_ = std::max(residual_, 0x1p-8f);
    for (const float residual : segment.residuals) residual_ = std::max(residual_, residual);
  }
  view_.dim = corpus.dim;
  view_.inner_product = corpus.inner_product;
}

const Corpus* AllowedBlocks::next() {
  if (left_ == 0 && started_) return nullptr;
  started_ = true;
  const std::uint64_t rows = std::min(left_, block_rows_);
  block_ = {};
  block_.rows = rows;
  block_.dim = corpus_.dim;
  block_.offsets = {0, rows};
  block_.ids = Buffer<idx_t>(rows);
  block_.hi = make_plane(rows * corpus_.dim);
  const bool has_lo =
      std::any_of(corpus_.segments.begin(), corpus_.segments.end(), [](const auto& s) { return !s.planes.lo.empty(); });
  if (has_lo) block_.lo = make_plane(rows * corpus_.dim);
  block_.norms = Buffer<float>(rows);
  block_.residuals = {residual_};
  block_.rows = 0;
  while (block_.rows < rows) fill(block_);
  left_ -= rows;
  view_.segments = {block_.view()};
  view_.rows = rows;
  return &view_;
}

void AllowedBlocks::fill(OwnedSegment& block) {
  const auto& segment = corpus_.segments[segment_];
  const RowBits& hidden = allowed_.hidden[segment_];
  while (row_ < segment.rows && format::has_row(hidden, row_)) ++row_;
  std::uint64_t end = row_;
  while (end < segment.rows && block.rows + (end - row_) < block.offsets[1] && !format::has_row(hidden, end)) ++end;
  copy_rows(segment, row_, end - row_, block, block.rows);
  block.rows += end - row_;
  row_ = end;
  if (row_ < segment.rows) return;
  ++segment_;
  row_ = 0;
}

BestRows::BestRows(std::size_t nq, std::size_t k, bool ascending)
    : nq_(nq),
      k_(k),
      ascending_(ascending),
      values_(nq * k, ascending ? std::numeric_limits<float>::infinity() : -std::numeric_limits<float>::infinity()),
      ids_(nq * k, -1) {}

void BestRows::merge(std::span<const float> values, std::span<const idx_t> ids, unsigned threads) {
  parallel_for(threads, nq_, 64, [&](std::size_t begin, std::size_t end, unsigned) {
    std::vector<float> merged_values(k_);
    std::vector<idx_t> merged_ids(k_);
    for (std::size_t q = begin; q < end; ++q) {
      std::size_t a = q * k_, b = q * k_;
      for (std::size_t i = 0; i < k_; ++i) {
        // Missing results come last: no row has their id.
        const bool first =
            ids_[a] != -1 &&
            (ids[b] == -1 || (values_[a] != values[b] ? (values_[a] < values[b]) == ascending_ : ids_[a] <= ids[b]));
        merged_values[i] = first ? values_[a] : values[b];
        merged_ids[i] = first ? ids_[a++] : ids[b++];
      }
      std::copy_n(merged_values.begin(), k_, values_.begin() + static_cast<std::ptrdiff_t>(q * k_));
      std::copy_n(merged_ids.begin(), k_, ids_.begin() + static_cast<std::ptrdiff_t>(q * k_));
    }
  });
}

void BestRows::take(std::vector<float>& values, std::vector<idx_t>& ids) {
  values = std::move(values_);
  ids = std::move(ids_);
}

}  // namespace ivf::detail

#include "backends/torch/host_rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "backends/cpu/levels.h"
#include "index/row_sets.h"
#include "ivf/format/row_bits.hpp"
#include "parallel.h"
#include "rows.h"

namespace ivf::detail::torch_backend {

HostRows::HostRows(const Corpus& corpus)
    : dim_(corpus.dim), inner_product_(corpus.inner_product), segments_(corpus.segments), offsets_(corpus.nlist + 1) {
  std::uint64_t total = 0;
  for (const auto& segment : segments_) {
    before_.push_back(total);
    total += segment.rows;
  }
  std::uint64_t position = 0;
  for (std::size_t l = 0; l < corpus.nlist; ++l) {
    offsets_[l] = position;
    for (std::uint32_t s = 0; s < segments_.size(); ++s) {
      const auto& segment = segments_[s];
      for_rows_outside(segment.removed, segment.offsets[l], segment.offsets[l + 1],
                       [&](std::uint64_t begin, std::uint64_t end) {
                         // Lists of one segment follow each other: one run serves them all.
                         const bool follows = !runs_.empty() && runs_.back().segment == s &&
                                              runs_.back().row + (position - runs_.back().first) == begin;
                         if (!follows) runs_.push_back({position, begin, s});
                         position += end - begin;
                       });
    }
  }
  offsets_[corpus.nlist] = position;
  find_places();
}

void HostRows::find_places() {
  const bool no_lo = std::all_of(segments_.begin(), segments_.end(), [](const auto& s) { return s.planes.lo.empty(); });
  if (!no_lo || count() == 0) return;
  constexpr int none = std::numeric_limits<int>::max();
  const unsigned threads = available_threads();
  std::vector<std::array<int, 2>> found(threads, {none, -none});
  for (const auto& segment : segments_) {
    const std::uint16_t* hi = segment.planes.hi.data();
    parallel_for(threads, segment.rows * dim_, std::size_t{1} << 20,
                 [&](std::size_t begin, std::size_t end, unsigned t) {
                   auto [low, high] = found[t];
                   for (std::size_t i = begin; i < end; ++i) {
                     const int exponent = (hi[i] >> 7) & 0xff;
                     const unsigned mantissa = (hi[i] & 0x7fu) | (exponent != 0 ? 0x80u : 0u);
                     if (mantissa == 0) continue;
                     const int unit = std::max(exponent, 1) - 134;  // The value is mantissa * 2^unit.
                     low = std::min(low, unit + std::countr_zero(mantissa));
                     high = std::max(high, unit + static_cast<int>(std::bit_width(mantissa)));
                   }
                   found[t] = {low, high};
                 });
  }
  int low = none, high = -none;
  for (const auto& part : found) {
    low = std::min(low, part[0]);
    high = std::max(high, part[1]);
  }
  if (low < high) {
    low_ = low;
    high_ = high;
  }
}

const HostRows::Run& HostRows::run_of(std::uint64_t position) const {
  const auto after = std::upper_bound(runs_.begin(), runs_.end(), position,
                                      [](std::uint64_t p, const Run& run) { return p < run.first; });
  return *(after - 1);
}

std::uint64_t HostRows::end_of(const Run& run) const noexcept {
  return &run == &runs_.back() ? count() : (&run + 1)->first;
}

/// Calls body(run, row in its segment, first of the piece, rows) for the runs that rows [first, first + n) lie in.
template <class Body>
void HostRows::for_pieces(std::uint64_t first, std::size_t n, Body body) const {
  if (n == 0) return;
  const Run* run = &run_of(first);
  for (std::size_t done = 0; done < n; ++run) {
    const std::size_t piece = std::min<std::uint64_t>(n - done, end_of(*run) - (first + done));
    body(*run, run->row + (first + done - run->first), done, piece);
    done += piece;
  }
}

void HostRows::get(std::uint64_t first, std::size_t n, float* rows) const {
  for_pieces(first, n, [&](const Run& run, std::uint64_t row, std::size_t done, std::size_t piece) {
    const auto& planes = segments_[run.segment].planes;
    join_planes(planes.hi.data() + row * dim_, planes.lo.empty() ? nullptr : planes.lo.data() + row * dim_,
                piece * dim_, rows + done * dim_);
  });
}

void HostRows::get_norms(std::uint64_t first, std::size_t n, float* norms) const {
  for_pieces(first, n, [&](const Run& run, std::uint64_t row, std::size_t done, std::size_t piece) {
    std::copy_n(segments_[run.segment].planes.norms.data() + row, piece, norms + done);
  });
}

void HostRows::get_ids(std::uint64_t first, std::size_t n, idx_t* ids) const {
  for_pieces(first, n, [&](const Run& run, std::uint64_t row, std::size_t done, std::size_t piece) {
    const auto& stored = segments_[run.segment].ids;
    for (std::size_t i = 0; i < piece; ++i) {
      ids[done + i] = stored.empty() ? static_cast<idx_t>(before_[run.segment] + row + i) : stored[row + i];
    }
  });
}

void HostRows::get_hidden(std::span<const std::span<const std::uint64_t>> hidden, std::uint64_t first, std::size_t n,
                          bool* in) const {
  for_pieces(first, n, [&](const Run& run, std::uint64_t row, std::size_t done, std::size_t piece) {
    for (std::size_t i = 0; i < piece; ++i) in[done + i] = format::has_row(hidden[run.segment], row + i);
  });
}

idx_t HostRows::id(std::uint64_t position) const {
  idx_t id = -1;
  get_ids(position, 1, &id);
  return id;
}

void HostRows::values(const float* query, const std::int64_t* positions, std::size_t n, float* values) const {
  const cpu::RowKernels& kernels = *cpu::levels().back().rows;
  constexpr std::size_t block = 64;
  std::array<std::uint64_t, block> rows{};
  for (std::size_t done = 0; done < n;) {
    // Rows of one segment in a row are given to the kernel together.
    const Run& first = run_of(static_cast<std::uint64_t>(positions[done]));
    std::size_t count = 0;
    for (; count < block && done + count < n; ++count) {
      const auto position = static_cast<std::uint64_t>(positions[done + count]);
      const Run& run = run_of(position);
      if (run.segment != first.segment) break;
      rows[count] = run.row + (position - run.first);
    }
    const auto& planes = segments_[first.segment].planes;
    const cpu::RefineArgs args{query,        planes.hi.data(), planes.lo.empty() ? nullptr : planes.lo.data(),
                               dim_,         rows.data(),      count,
                               values + done};
    (inner_product_ ? kernels.refine_ip : kernels.refine_l2)(&args);
    done += count;
  }
}

}  // namespace ivf::detail::torch_backend

#include "backends/cpu/held_rows.h"

#include <algorithm>

#include "parallel.h"
#include "rows.h"

namespace ivf::detail::cpu {

void CpuHeldRows::assign(const Corpus& centroids, std::int32_t* list, float* value) {
  const std::int32_t* hints = nlist_ == centroids.rows ? nearest_.data() : nullptr;
  Nearest(kernels_, centroids, threads_).find({rows_, sums_.data(), nlist_ != 0, hints, list, value});
  nearest_.assign(list, list + rows_.rows);
  nlist_ = centroids.rows;
}

void CpuHeldRows::update_sums(const FixedPoint& fixed, std::size_t nlist, const std::int32_t* before,
                              const std::int32_t* after, std::uint64_t* sums, std::uint64_t* sizes) {
  const std::size_t n = rows_.rows, d = rows_.dim;
  const auto add = [&](const float* row, std::uint64_t* to) { accumulate(row, d, fixed.magic, to); };
  const auto take_out = [&](const float* row, std::uint64_t* from) { deduct(row, d, fixed.magic, from); };
  const auto has_moved = [&](std::size_t i) { return before[i] != after[i]; };
  std::size_t moved = n;
  if (before != nullptr) {
    moved = 0;
    for (std::size_t i = 0; i < n; ++i) moved += has_moved(i);
  }
  if (2 * moved >= n) {
    std::fill_n(sums, nlist * d, std::uint64_t{0});
    group(after, nlist, [](std::size_t) { return true; });
    for_grouped_rows(sums, add);
    for (std::size_t c = 0; c < nlist; ++c) sizes[c] = grouping_.offsets[c + 1] - grouping_.offsets[c];
    return;
  }
  group(after, nlist, has_moved);
  for_grouped_rows(sums, add);
  for (std::size_t c = 0; c < nlist; ++c) sizes[c] += grouping_.offsets[c + 1] - grouping_.offsets[c];
  group(before, nlist, has_moved);
  for_grouped_rows(sums, take_out);
  for (std::size_t c = 0; c < nlist; ++c) sizes[c] -= grouping_.offsets[c + 1] - grouping_.offsets[c];
}

template <class Wanted>
void CpuHeldRows::group(const std::int32_t* lists, std::size_t nlist, Wanted wanted) {
  auto& offsets = grouping_.offsets;
  offsets.assign(nlist + 2, 0);  // Shifted by one, so that the fill leaves each list's end where the next one begins.
  for (std::size_t i = 0; i < rows_.rows; ++i) {
    if (wanted(i)) ++offsets[static_cast<std::size_t>(lists[i]) + 2];
  }
  for (std::size_t c = 2; c < offsets.size(); ++c) offsets[c] += offsets[c - 1];
  grouping_.rows.resize(offsets.back());
  for (std::size_t i = 0; i < rows_.rows; ++i) {
    if (wanted(i)) grouping_.rows[offsets[static_cast<std::size_t>(lists[i]) + 1]++] = static_cast<std::uint32_t>(i);
  }
  offsets.pop_back();
}

template <class Body>
void CpuHeldRows::for_grouped_rows(std::uint64_t* sums, Body body) {
  constexpr std::size_t ahead = 8;  // Rows lie anywhere in memory: ask for them in time.
  parallel_for(threads_, grouping_.offsets.size() - 1, 4, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t c = begin; c < end; ++c) {
      for (std::uint64_t i = grouping_.offsets[c]; i < grouping_.offsets[c + 1]; ++i) {
        if (i + ahead < grouping_.rows.size()) prefetch_row(rows_.row(grouping_.rows[i + ahead]), rows_.dim);
        body(rows_.row(grouping_.rows[i]), sums + c * rows_.dim);
      }
    }
  });
}

}  // namespace ivf::detail::cpu

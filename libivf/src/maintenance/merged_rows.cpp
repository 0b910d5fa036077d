#include "maintenance/merged_rows.h"

#include <algorithm>

#include "parallel.h"
#include "rows.h"

namespace ivf::detail {
namespace {

constexpr std::size_t rows_between_reports = 1 << 20;

/// The last element of ascending `starts` that is at most `value`.
std::size_t last_at_most(std::span<const std::uint64_t> starts, std::uint64_t value) {
  return static_cast<std::size_t>(std::upper_bound(starts.begin(), starts.end(), value) - starts.begin()) - 1;
}

}  // namespace

MergedRows::MergedRows(std::vector<RowPart> parts, std::size_t dim, std::size_t nlist)
    : parts_(std::move(parts)), dim_(dim), offsets_(nlist + 1) {
  std::uint64_t stored = 0;
  for (const RowPart& part : parts_) {
    live_.emplace_back(part.view);
    starts_.push_back(stored);
    stored += part.view.rows;
    for (std::size_t l = 0; l < nlist; ++l) {
      offsets_[l + 1] += live_.back().before(part.view.offsets[l + 1]) - live_.back().before(part.view.offsets[l]);
    }
  }
  for (std::size_t l = 0; l < nlist; ++l) offsets_[l + 1] += offsets_[l];
}

template <class Run>
void MergedRows::for_unsorted_runs(std::uint64_t begin, std::uint64_t end, const Run& run) const {
  if (begin == end) return;
  std::size_t list = last_at_most(offsets_, begin);
  while (begin < end) {
    std::uint64_t skip = begin - offsets_[list];
    for (std::size_t p = 0; p < parts_.size() && begin < end; ++p) {
      const format::SegmentView& view = parts_[p].view;
      const std::uint64_t before = live_[p].before(view.offsets[list]);
      const std::uint64_t count = live_[p].before(view.offsets[list + 1]) - before;
      if (skip >= count) {
        skip -= count;
        continue;
      }
      const std::uint64_t wanted = std::min(count - skip, end - begin);
      const std::uint64_t first = live_[p].find(before + skip), last = live_[p].find(before + skip + wanted - 1);
      skip = 0;
      for_rows_outside(view.removed, first, last + 1, [&](std::uint64_t from, std::uint64_t to) {
        run(p, from, to - from, begin);
        begin += to - from;
      });
    }
    ++list;
  }
}

template <class Run>
void MergedRows::for_runs(std::uint64_t begin, std::uint64_t end, const Run& run) const {
  if (!order_) {
    for_unsorted_runs(begin, end, run);
    return;
  }
  const auto order = order_->span();
  while (begin < end) {
    const std::uint64_t position = order[begin].position;
    const std::size_t part = last_at_most(starts_, position);
    const std::uint64_t stop = starts_[part] + parts_[part].view.rows;
    std::uint64_t count = 1;
    while (begin + count < end && position + count < stop && order[begin + count].position == position + count) ++count;
    run(part, position - starts_[part], count, begin);
    begin += count;
  }
}

template <class T, class Values>
void MergedRows::copy(std::uint64_t first, std::span<T> out, std::size_t width, const Values& values) const {
  const std::uint64_t last = first + out.size();
  // The first and the last row may be wanted in part.
  for_runs(first / width, (last + width - 1) / width,
           [&](std::size_t part, std::uint64_t from, std::uint64_t count, std::uint64_t row) {
             const std::uint64_t begin = std::max(first, row * width), end = std::min(last, (row + count) * width);
             const std::span<const T> source = values(parts_[part].view);
             T* const to = out.data() + (begin - first);
             if (source.empty()) {
               std::fill_n(to, end - begin, T{});
             } else {
               std::copy_n(source.data() + (from * width + (begin - row * width)), end - begin, to);
             }
             if constexpr (std::is_same_v<T, idx_t>) {
               for (std::uint64_t i = 0; i < end - begin; ++i) to[i] += parts_[part].id_offset;
             }
           });
}

void MergedRows::ids(std::uint64_t first, std::span<idx_t> out) const {
  copy(first, out, 1, [](const format::SegmentView& view) { return view.ids; });
}

void MergedRows::norms(std::uint64_t first, std::span<float> out) const {
  copy(first, out, 1, [](const format::SegmentView& view) { return view.planes.norms; });
}

void MergedRows::hi(std::uint64_t first, std::span<std::uint16_t> out) const {
  copy(first, out, dim_, [](const format::SegmentView& view) { return view.planes.hi; });
}

void MergedRows::lo(std::uint64_t first, std::span<std::uint16_t> out) const {
  copy(first, out, dim_, [](const format::SegmentView& view) { return view.planes.lo; });
}

void MergedRows::values(std::uint64_t first, std::uint64_t count, float* out) const {
  for_runs(first, first + count, [&](std::size_t part, std::uint64_t from, std::uint64_t stretch, std::uint64_t row) {
    const format::Planes& planes = parts_[part].view.planes;
    join_planes(planes.hi.data() + from * dim_, planes.lo.empty() ? nullptr : planes.lo.data() + from * dim_,
                stretch * dim_, out + (row - first) * dim_);
  });
}

void MergedRows::sort_by_id(const std::string& path, const Resources& resources, const Progress& progress) {
  ScratchArray<Key> keys(rows(), resources.max_memory / 2, path);
  const auto span = keys.span();
  for (std::uint64_t first = 0; first < rows(); first += rows_between_reports) {
    if (progress) progress("sorting", first, 2 * rows());
    const std::uint64_t last = std::min<std::uint64_t>(first + rows_between_reports, rows());
    for_runs(first, last, [&](std::size_t part, std::uint64_t from, std::uint64_t count, std::uint64_t row) {
      for (std::uint64_t i = 0; i < count; ++i) {
        span[row + i] = {parts_[part].view.ids[from + i] + parts_[part].id_offset, starts_[part] + from + i};
      }
    });
  }
  const std::size_t nlist = offsets_.size() - 1;
  for (std::size_t first = 0, last = 0; first < nlist; first = last) {
    while (last < nlist && offsets_[last] - offsets_[first] < rows_between_reports) ++last;
    parallel_for(resources.threads, last - first, 1, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t l = first + begin; l < first + end; ++l) {
        std::sort(span.begin() + static_cast<std::ptrdiff_t>(offsets_[l]),
                  span.begin() + static_cast<std::ptrdiff_t>(offsets_[l + 1]));
      }
    });
    if (progress) progress("sorting", rows() + offsets_[last], 2 * rows());
  }
  order_ = std::move(keys);
}

}  // namespace ivf::detail

#include "backends/torch/scan.h"

#include <algorithm>

namespace ivf::detail::torch_backend {
namespace {

/// The best of both.
Candidates merge(const Candidates& a, const Candidates& b, std::int64_t width) {
  return select({at::cat({a.scores, b.scores}, 1), at::cat({a.positions, b.positions}, 1)}, width);
}

/// Scores of rows [first, first + n) of the corpus for every query.
Candidates scan_slice(const DeviceCorpus& corpus, const Batch& batch, std::int64_t first, std::int64_t n) {
  at::Tensor scores = at::addmm(corpus.bias(first, n), batch.queries, corpus.slice(first, n).t(), /*beta=*/1,
                                /*alpha=*/corpus.inner_product() ? -1 : -2);
  if (batch.wild) {
    make_finite(scores);
    if (corpus.filtered()) hide(scores, corpus.bias(first, n));
  }
  return {scores, {}, {}, first};
}

/// Scores of groups [first, first + n) of every query: they count over its lists in probe order.
Candidates scan_columns(const DeviceCorpus& corpus, const Batch& batch, std::int64_t first, std::int64_t n) {
  const auto& [list_starts, sizes, groups, ends] = batch.probed;
  const at::Tensor column = at::arange(first, first + n, corpus.runtime().options(at::kLong));
  // The list that a column falls into, and from there its rows. Columns past the last list count on in it, and have
  // none.
  const at::Tensor rank = at::searchsorted(ends, column.expand({batch.count(), n}).contiguous(), /*out_int32=*/false,
                                           /*right=*/true)
                              .clamp_max_(batch.nprobe() - 1);
  const at::Tensor before = (ends - groups) * group_rows, rows = column * group_rows;
  const at::Tensor starts = ((list_starts - before).gather(1, rank) + rows).clamp_max_(corpus.count() - 1);
  const at::Tensor left = (sizes + before).gather(1, rank) - rows;
  return group_scores(corpus, batch.queries, starts, left, batch.wild);
}

/// Columns that fit `memory` at `bytes` each: at least 64.
std::int64_t columns_of(std::uint64_t memory, std::int64_t bytes, std::int64_t all) {
  const std::int64_t fit = static_cast<std::int64_t>(memory) / std::max<std::int64_t>(bytes, 1);
  return std::clamp<std::int64_t>(fit, 64, std::max<std::int64_t>(all, 64));
}

std::int64_t capped(std::int64_t rows, std::uint64_t max_codes) {
  return max_codes == 0 || max_codes >= static_cast<std::uint64_t>(rows) ? rows : static_cast<std::int64_t>(max_codes);
}

}  // namespace

Batch Batch::slice(std::int64_t first, std::int64_t n, std::int64_t most) const {
  if (first == 0 && n == count()) {
    Batch same = *this;
    same.widest = most;
    return same;
  }
  const auto part = [&](const at::Tensor& all) { return all.defined() ? all.narrow(0, first, n) : all; };
  return {part(queries), part(lists), {part(probed.starts), part(probed.sizes), part(probed.groups), part(probed.ends)},
          most,          max_codes,   wild};
}

void probe_lists(const DeviceCorpus& corpus, at::Tensor lists, bool complete, Batch& batch) {
  batch.lists = std::move(lists);
  ProbedLists& probed = batch.probed;
  if (complete) {
    probed.starts = corpus.offsets().take(batch.lists);
    probed.sizes = corpus.sizes().take(batch.lists);
  } else {
    const at::Tensor none = batch.lists < 0;
    const at::Tensor there = batch.lists.clamp_min(0);
    probed.starts = corpus.offsets().take(there);
    probed.sizes = corpus.sizes().take(there).masked_fill_(none, 0);
  }
  if (batch.max_codes != 0) {
    const std::int64_t cap = capped(std::numeric_limits<std::int64_t>::max(), batch.max_codes);
    const at::Tensor ends = probed.sizes.cumsum(1);
    const at::Tensor begins = (ends - probed.sizes).clamp_max_(cap);
    probed.sizes = ends.clamp_max(cap) - begins;
  }
  probed.groups = at::floor_divide(probed.sizes + (group_rows - 1), group_rows);
  probed.ends = probed.groups.cumsum(1);
}

at::Tensor Candidates::positions_at(const at::Tensor& columns) const {
  if (positions.defined()) return positions.gather(1, columns);
  if (!starts.defined()) return first == 0 ? columns : columns + first;
  const at::Tensor group = at::floor_divide(columns, group_rows);
  return starts.gather(1, group) + (columns - group * group_rows);
}

Candidates group_scores(const DeviceCorpus& corpus, const at::Tensor& queries, const at::Tensor& starts,
                        const at::Tensor& left, bool wild) {
  const std::int64_t n = starts.size(0), columns = starts.size(1) * group_rows;
  const at::Tensor flat = starts.reshape({-1});
  const at::Tensor rows = corpus.gather_groups(flat).view({n, columns, corpus.dim()});
  const at::Tensor products = at::bmm(rows, queries.unsqueeze(2)).squeeze(2);
  const bool ip = corpus.inner_product();
  const at::Tensor bias = !ip || corpus.filtered() ? corpus.gather_bias(flat).view({n, columns}) : at::Tensor();
  at::Tensor scores = bias.defined() ? at::sub(bias, products, ip ? 1 : 2) : products.neg();
  if (wild) {
    make_finite(scores);
    if (corpus.filtered()) hide(scores, bias);
  }
  const at::Tensor none = at::arange(group_rows, left.options()) >= left.unsqueeze(2);
  return {scores.masked_fill_(none.view({n, columns}), infinity), {}, starts};
}

void make_finite(at::Tensor& scores) {
  constexpr double most = std::numeric_limits<float>::max();
  at::nan_to_num_(scores, /*nan=*/0.0, /*posinf=*/most, /*neginf=*/-most);
}

void hide(at::Tensor& scores, const at::Tensor& bias) { scores.masked_fill_(bias == infinity, infinity); }

Candidates select(const Candidates& all, std::int64_t width) {
  const std::int64_t n = all.scores.size(0), columns = all.scores.size(1);
  if (columns <= 4 * width * group_rows) {
    auto [best, index] = at::topk(all.scores, std::min(width, columns), 1, /*largest=*/false, /*sorted=*/true);
    return {best, all.positions_at(index)};
  }
  // The best `width` scores lie in the `width` groups of the best minima: one pass over all scores, and a selection
  // from far fewer, instead of the many passes of a selection.
  const std::int64_t groups = (columns + group_rows - 1) / group_rows;
  const at::Tensor scores = columns % group_rows == 0
                                ? all.scores
                                : at::constant_pad_nd(all.scores, {0, groups * group_rows - columns}, infinity);
  const at::Tensor chosen = std::get<1>(
      at::topk(scores.view({n, groups, group_rows}).amin(2), width, 1, /*largest=*/false, /*sorted=*/false));
  const at::Tensor lane = at::arange(group_rows, chosen.options());
  const at::Tensor places = (chosen.unsqueeze(2) * group_rows + lane).view({n, width * group_rows});
  auto [best, index] = at::topk(scores.gather(1, places), width, 1, /*largest=*/false, /*sorted=*/true);
  at::Tensor found = places.gather(1, index);
  if (scores.size(1) != columns) found = found.clamp_max_(columns - 1);  // Padding: its score says that it is no row.
  return {best, all.positions_at(found)};
}

void for_scores(const DeviceCorpus& corpus, const Batch& batch, std::uint64_t memory, SearchStats& stats,
                const std::function<void(const Candidates&)>& visit) {
  const std::int64_t row_bytes = corpus.dim() * (corpus.exact_rows() ? 4 : 10);
  if (!batch.lists.defined()) {
    // A score, and what the selection keeps of it; rows only where they are restored from 16 bits.
    const std::int64_t rows = capped(corpus.count(), batch.max_codes);
    const std::int64_t chunk = columns_of(memory, batch.count() * 8 + (corpus.exact_rows() ? 0 : row_bytes), rows);
    for (std::int64_t first = 0; first < rows; first += chunk) {
      visit(scan_slice(corpus, batch, first, std::min(chunk, rows - first)));
    }
    return;
  }
  const std::int64_t widest = batch.widest >= 0 ? batch.widest : item(batch.totals().amax(), stats);
  // Rows gathered for every query, and what positions and scores take.
  const std::int64_t chunk = columns_of(memory, batch.count() * (row_bytes + 24) * group_rows, widest);
  for (std::int64_t first = 0; first < widest; first += chunk) {
    visit(scan_columns(corpus, batch, first, std::min(chunk, widest - first)));
  }
}

Selection scan_matrix(const DeviceCorpus& corpus, const Batch& batch, const ScanLimits& limits, SearchStats& stats) {
  Selection result;
  std::int64_t columns = 0;
  for_scores(corpus, batch, limits.memory, stats, [&](const Candidates& part) {
    columns += part.scores.size(1);
    const Candidates chosen = select(part, limits.width);
    result.best = result.best.scores.defined() ? merge(result.best, chosen, limits.width) : chosen;
  });
  if (columns == 0) {  // All of the lists are empty.
    result.best.scores = at::full({batch.count(), 1}, infinity, corpus.runtime().options(at::kFloat));
    result.best.positions = at::zeros({batch.count(), 1}, corpus.runtime().options(at::kLong));
  }
  result.everything = columns <= limits.width || limits.width >= corpus.count();
  result.bound = result.best.scores.select(1, result.best.scores.size(1) - 1);
  return result;
}

}  // namespace ivf::detail::torch_backend

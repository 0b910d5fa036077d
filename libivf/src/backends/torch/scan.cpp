#include "backends/torch/scan.h"

#include <algorithm>

namespace ivf::detail::torch_backend {

at::Tensor batch_scores(const at::Tensor& bias, const at::Tensor& queries, const at::Tensor& rows, bool inner_product) {
  return at::baddbmm(bias, queries, rows.transpose(1, 2), /*beta=*/1, /*alpha=*/inner_product ? -1 : -2);
}

void make_finite(at::Tensor& scores) {
  constexpr double most = std::numeric_limits<float>::max();
  at::nan_to_num_(scores, /*nan=*/0.0, /*posinf=*/most, /*neginf=*/-most);
}

Candidates select(const at::Tensor& scores, const at::Tensor& positions, std::int64_t width, bool sorted) {
  auto [best, index] = at::topk(scores, std::min(width, scores.size(1)), 1, /*largest=*/false, sorted);
  return {best, at::gather(positions, 1, index), false};
}

Candidates merge(const Candidates& a, const Candidates& b, std::int64_t width) {
  if (!a.scores.defined()) return b;
  return select(at::cat({a.scores, b.scores}, 1), at::cat({a.positions, b.positions}, 1), width, true);
}

ProbedLists probed_lists(const DeviceCorpus& corpus, const Batch& batch) {
  const at::Tensor none = batch.lists < 0;
  const at::Tensor lists = batch.lists.clamp_min(0);
  ProbedLists probed;
  probed.starts = corpus.offsets().take(lists);
  probed.sizes = (corpus.offsets().take(lists + 1) - probed.starts).masked_fill_(none, 0);
  probed.ends = probed.sizes.cumsum(1);
  if (batch.max_codes != 0) {
    const auto cap =
        static_cast<std::int64_t>(std::min<std::uint64_t>(batch.max_codes, std::numeric_limits<std::int64_t>::max()));
    const at::Tensor begins = (probed.ends - probed.sizes).clamp_max_(cap);
    probed.ends.clamp_max_(cap);
    probed.sizes = probed.ends - begins;
  }
  return probed;
}

namespace {

/// Scores of rows [first, first + n) of the corpus for every query.
Candidates scan_slice(const DeviceCorpus& corpus, const Batch& batch, std::int64_t first, std::int64_t n) {
  at::Tensor scores =
      at::addmm(corpus.bias().narrow(0, first, n), batch.queries, corpus.slice(first, n).t(), /*beta=*/1,
                /*alpha=*/corpus.inner_product() ? -1 : -2);
  if (batch.wild) make_finite(scores);
  const at::Tensor positions = at::arange(first, first + n, corpus.runtime().options(at::kLong));
  return {scores, positions.expand({batch.count(), n}), false};
}

/// Scores of candidates [first, first + n) of every query: rows count over its lists in probe order.
Candidates scan_columns(const DeviceCorpus& corpus, const Batch& batch, const ProbedLists& probed, std::int64_t first,
                        std::int64_t n) {
  const std::int64_t count = batch.count(), nprobe = batch.lists.size(1);
  const at::Tensor column = at::arange(first, first + n, corpus.runtime().options(at::kLong));
  // The list that a column falls into, and from there its row.
  const at::Tensor rank =
      at::searchsorted(probed.ends, column.expand({count, n}).contiguous(), /*out_int32=*/false, /*right=*/true)
          .clamp_max_(nprobe - 1);
  const at::Tensor shift = probed.starts - (probed.ends - probed.sizes);
  const at::Tensor none = column.unsqueeze(0) >= probed.ends.narrow(1, nprobe - 1, 1);
  const at::Tensor positions = (shift.gather(1, rank) + column).masked_fill_(none, 0);
  const at::Tensor flat = positions.view({-1});
  const at::Tensor rows = corpus.gather(flat).view({count, n, corpus.dim()});
  const at::Tensor products = at::bmm(rows, batch.queries.unsqueeze(2)).squeeze(2);
  at::Tensor scores =
      at::add(corpus.bias().index_select(0, flat).view({count, n}), products, corpus.inner_product() ? -1 : -2);
  if (batch.wild) make_finite(scores);
  scores.masked_fill_(none, std::numeric_limits<double>::infinity());
  return {scores, positions, false};
}

/// Columns that fit `memory` at `bytes` each: at least 64.
std::int64_t columns_of(std::uint64_t memory, std::int64_t bytes, std::int64_t all) {
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(memory) / std::max<std::int64_t>(bytes, 1), 64,
                                  std::max<std::int64_t>(all, 64));
}

std::int64_t capped(std::int64_t rows, std::uint64_t max_codes) {
  return max_codes == 0 || max_codes >= static_cast<std::uint64_t>(rows) ? rows : static_cast<std::int64_t>(max_codes);
}

}  // namespace

void for_scores(const DeviceCorpus& corpus, const Batch& batch, std::uint64_t memory, SearchStats& stats,
                const std::function<void(const Candidates&)>& visit) {
  const std::int64_t row_bytes = corpus.dim() * (corpus.exact_rows() ? 4 : 10);
  if (!batch.lists.defined()) {
    // A score, and what the selection keeps of it; rows only where they are restored from 16 bits.
    const std::int64_t rows = capped(corpus.count(), batch.max_codes);
    const std::int64_t chunk = columns_of(memory, batch.count() * 16 + (corpus.exact_rows() ? 0 : row_bytes), rows);
    for (std::int64_t first = 0; first < rows; first += chunk) {
      visit(scan_slice(corpus, batch, first, std::min(chunk, rows - first)));
    }
    return;
  }
  const ProbedLists probed = probed_lists(corpus, batch);
  const std::int64_t widest = item(probed.ends.select(1, batch.lists.size(1) - 1).amax(), stats);
  // Rows gathered for every query, and what positions, ranks and scores take.
  const std::int64_t chunk = columns_of(memory, batch.count() * (row_bytes + 48), widest);
  for (std::int64_t first = 0; first < widest; first += chunk) {
    visit(scan_columns(corpus, batch, probed, first, std::min(chunk, widest - first)));
  }
}

Candidates scan_matrix(const DeviceCorpus& corpus, const Batch& batch, const ScanLimits& limits, SearchStats& stats) {
  Candidates best;
  std::int64_t columns = 0, pieces = 0;
  for_scores(corpus, batch, limits.memory, stats, [&](const Candidates& part) {
    columns += part.scores.size(1);
    // Sorted at once when it stays the only piece; a second one sorts what both leave.
    const Candidates chosen = select(part.scores, part.positions, limits.width, true);
    best = pieces++ == 0 ? chosen : merge(best, chosen, limits.width);
  });
  if (pieces == 0) {  // All of the lists are empty.
    best.scores =
        at::full({batch.count(), 1}, std::numeric_limits<double>::infinity(), corpus.runtime().options(at::kFloat));
    best.positions = at::zeros({batch.count(), 1}, corpus.runtime().options(at::kLong));
  }
  best.everything = columns <= limits.width;
  return best;
}

}  // namespace ivf::detail::torch_backend

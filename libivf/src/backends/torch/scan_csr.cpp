#include <algorithm>
#include <numeric>

#include "backends/torch/scan.h"

namespace ivf::detail::torch_backend {
namespace {

/// The (query, list) pairs of a batch, sorted by list. Pair i is query i / nprobe and its probe of rank i % nprobe.
struct Pairs {
  at::Tensor order;                  ///< Pairs in the order of their lists.
  std::vector<std::int64_t> counts;  ///< Pairs of each list.
  at::Tensor begins;                 ///< The first place in `order` of each list's pairs: nlist + 1.
};

Pairs group_pairs(const DeviceCorpus& corpus, const Batch& batch, SearchStats& stats) {
  // Probes of no list sort to the front, before the first list.
  auto [lists, order] = at::sort(batch.lists.reshape({-1}), /*stable=*/true, 0, false);
  Pairs pairs;
  pairs.order = order;
  const at::Tensor numbers = at::arange(corpus.nlist() + 1, corpus.runtime().options(at::kLong));
  pairs.begins = at::searchsorted(lists, numbers);
  Download download(corpus.runtime());
  const at::Tensor host = download.add(pairs.begins);
  download.finish(stats);
  const auto* begins = host.data_ptr<std::int64_t>();
  pairs.counts.resize(static_cast<std::size_t>(corpus.nlist()));
  for (std::size_t l = 0; l < pairs.counts.size(); ++l) pairs.counts[l] = begins[l + 1] - begins[l];
  return pairs;
}

/// Lists that are multiplied at once, all as large as the largest of them.
struct ListBlock {
  std::size_t first, last;     ///< In the order of lists.
  std::int64_t queries, rows;  ///< Most of a list.
};

/// Blocks of lists in descending order of size whose padded products fit `cells`, and are not much larger than the work
/// itself.
std::vector<ListBlock> cut_blocks(const std::vector<std::int64_t>& lists, const std::vector<std::int64_t>& queries,
                                  const std::vector<std::uint64_t>& offsets, std::int64_t cells) {
  constexpr double most_padding = 1.25;
  constexpr std::int64_t small = std::int64_t{1} << 22;  // Cells that take no longer than starting an operation.
  const auto rows_of = [&](std::int64_t l) {
    return static_cast<std::int64_t>(offsets[static_cast<std::size_t>(l) + 1] - offsets[static_cast<std::size_t>(l)]);
  };
  std::vector<ListBlock> blocks;
  double work = 0;
  for (std::size_t i = 0; i < lists.size(); ++i) {
    const std::int64_t rows = rows_of(lists[i]), count = queries[static_cast<std::size_t>(lists[i])];
    const double own = static_cast<double>(rows) * static_cast<double>(count);
    if (!blocks.empty()) {
      ListBlock& block = blocks.back();
      const std::int64_t members = static_cast<std::int64_t>(i - block.first) + 1;
      const double padded = static_cast<double>(members) * static_cast<double>(std::max(block.queries, count)) *
                            static_cast<double>(std::max(block.rows, rows));
      const bool fits = padded <= static_cast<double>(cells);
      if (fits && (padded <= most_padding * (work + own) || padded <= static_cast<double>(small))) {
        block.last = i + 1;
        block.queries = std::max(block.queries, count);
        block.rows = std::max(block.rows, rows);
        work += own;
        continue;
      }
    }
    blocks.push_back({i, i + 1, count, rows});
    work = own;
  }
  return blocks;
}

/// Scans blocks of lists into a table of every pair's groups: the best score of each `group_rows` rows of the list.
class CsrScan {
 public:
  CsrScan(const DeviceCorpus& corpus, const Batch& batch, const ScanLimits& limits, SearchStats& stats)
      : corpus_(corpus),
        batch_(batch),
        limits_(limits),
        pairs_(group_pairs(corpus, batch, stats)),
        count_(batch.lists.numel()) {}

  Selection run() {
    const auto lists = lists_with_work();
    const std::int64_t longest = lists.empty() ? 1 : rows_of(lists.front());
    groups_ = (longest + group_rows - 1) / group_rows;
    // One more than there are pairs: where what belongs to none goes.
    minima_ = at::full({count_ + 1, groups_}, infinity, corpus_.runtime().options(at::kFloat));
    const at::Tensor order = corpus_.runtime().upload(lists.data(), lists.size(), at::kLong);
    // A product, and the operands.
    const auto cells = static_cast<std::int64_t>(std::max<std::uint64_t>(limits_.memory / 8, 1));
    for (const ListBlock& block : cut_blocks(lists, pairs_.counts, corpus_.host().offsets(), cells)) {
      scan_block(
          block,
          order.narrow(0, static_cast<std::int64_t>(block.first), static_cast<std::int64_t>(block.last - block.first)),
          cells);
    }
    return choose();
  }

 private:
  std::int64_t rows_of(std::int64_t l) const {
    const auto& offsets = corpus_.host().offsets();
    return static_cast<std::int64_t>(offsets[static_cast<std::size_t>(l) + 1] - offsets[static_cast<std::size_t>(l)]);
  }

  /// The lists that are probed and have rows, largest first.
  std::vector<std::int64_t> lists_with_work() const {
    std::vector<std::int64_t> lists(pairs_.counts.size());
    std::iota(lists.begin(), lists.end(), 0);
    std::erase_if(lists,
                  [&](std::int64_t l) { return pairs_.counts[static_cast<std::size_t>(l)] == 0 || rows_of(l) == 0; });
    std::sort(lists.begin(), lists.end(), [&](std::int64_t a, std::int64_t b) {
      return rows_of(a) != rows_of(b) ? rows_of(a) > rows_of(b) : a < b;
    });
    return lists;
  }

  /// Products of a block, in slices of queries and of rows that keep them within `cells`.
  void scan_block(const ListBlock& block, const at::Tensor& lists, std::int64_t cells) {
    const std::int64_t members = lists.size(0);
    const std::int64_t all = (block.rows + group_rows - 1) / group_rows * group_rows;
    const std::int64_t fit = cells / (members * 64) / group_rows * group_rows;
    const std::int64_t rows = std::min(all, std::max<std::int64_t>(fit, 64));
    const std::int64_t queries = std::clamp<std::int64_t>(cells / (members * rows), 1, block.queries);
    const at::Tensor begins = pairs_.begins.index_select(0, lists).unsqueeze(1);
    const at::Tensor ends = pairs_.begins.index_select(0, lists + 1).unsqueeze(1);
    for (std::int64_t q = 0; q < block.queries; q += queries) {
      const std::int64_t n = std::min(queries, block.queries - q);
      const at::Tensor place = begins + at::arange(q, q + n, begins.options());  // members x n
      const at::Tensor there = place < ends;
      const at::Tensor pairs =
          pairs_.order.take(place.clamp_max_(count_ - 1)).masked_fill_(at::logical_not(there), count_);
      for (std::int64_t r = 0; r < all; r += rows) scan_tile(lists, pairs, r, std::min(rows, all - r));
    }
  }

  /// Rows [first, first + n) of each list for its pairs (members x q).
  void scan_tile(const at::Tensor& lists, const at::Tensor& pairs, std::int64_t first, std::int64_t n) {
    const std::int64_t members = lists.size(0), q = pairs.size(1);
    const at::Tensor column = at::arange(first, first + n, lists.options());
    const at::Tensor none = column.unsqueeze(0) >= corpus_.sizes().index_select(0, lists).unsqueeze(1);  // members x n
    const at::Tensor groups = (corpus_.offsets().index_select(0, lists).unsqueeze(1) +
                               at::arange(first, first + n, group_rows, lists.options()))
                                  .clamp_max_(corpus_.count() - 1)
                                  .view({-1});
    const at::Tensor rows = corpus_.gather_groups(groups).view({members, n, corpus_.dim()});
    // Costs no pass over the products.
    const at::Tensor bias = corpus_.gather_bias(groups).view({members, 1, n}).masked_fill_(none.unsqueeze(1), infinity);
    const at::Tensor flat = pairs.view({-1});
    const at::Tensor valid = flat.clamp_max(count_ - 1);
    const at::Tensor queries =
        batch_.queries.index_select(0, at::floor_divide(valid, batch_.nprobe())).view({members, q, corpus_.dim()});
    at::Tensor scores =
        at::baddbmm(bias, queries, rows.transpose(1, 2), /*beta=*/1, /*alpha=*/corpus_.inner_product() ? -1 : -2);
    if (batch_.wild) {
      make_finite(scores);
      hide(scores, bias);
    }
    if (batch_.max_codes != 0) {
      const at::Tensor limits = batch_.probed.sizes.reshape({-1}).take(valid).view({members, q, 1});
      scores.masked_fill_(column.view({1, 1, n}) >= limits, infinity);
    }
    const at::Tensor best = scores.view({members * q, n / group_rows, group_rows}).amin(2);
    minima_.narrow(1, first / group_rows, n / group_rows).index_copy_(0, flat, best);
  }

  /// The best rows of each query from its best groups.
  Selection choose() const {
    const std::int64_t n = batch_.count(), all = batch_.nprobe() * groups_;
    const Candidates groups = select({minima_.narrow(0, 0, count_).view({n, all})}, limits_.width);
    const std::int64_t width = groups.scores.size(1);
    const std::int64_t query_bytes = width * group_rows * (corpus_.dim() * (corpus_.exact_rows() ? 4 : 10) + 48);
    const std::int64_t chunk = std::clamp<std::int64_t>(static_cast<std::int64_t>(limits_.memory) / query_bytes, 1, n);
    std::vector<at::Tensor> scores, positions;
    for (std::int64_t first = 0; first < n; first += chunk) {
      const Candidates part = rows_of_groups(groups.positions, first, std::min(chunk, n - first));
      scores.push_back(part.scores);
      positions.push_back(part.positions);
    }
    Selection result;
    const auto joined = [](const std::vector<at::Tensor>& parts) {
      return parts.size() == 1 ? parts.front() : at::cat(parts, 0);
    };
    result.best = {joined(scores), joined(positions)};
    // Rows of groups that were left out were scored by another product than these: both bound what is left out.
    const at::Tensor last = result.best.scores.select(1, result.best.scores.size(1) - 1);
    result.everything = limits_.width >= corpus_.count();
    result.bound = all <= width ? last : at::minimum(last, groups.scores.select(1, width - 1));
    return result;
  }

  /// The best rows of the groups of queries [first, first + n).
  Candidates rows_of_groups(const at::Tensor& groups, std::int64_t first, std::int64_t n) const {
    const at::Tensor chosen = groups.narrow(0, first, n);
    const at::Tensor rank = at::floor_divide(chosen, groups_);
    const at::Tensor row = (chosen - rank * groups_) * group_rows;  // In its list.
    const at::Tensor left = batch_.probed.sizes.narrow(0, first, n).gather(1, rank) - row;
    const at::Tensor starts =
        (batch_.probed.starts.narrow(0, first, n).gather(1, rank) + row).clamp_max_(corpus_.count() - 1);
    const at::Tensor queries = batch_.queries.narrow(0, first, n);
    return select(group_scores(corpus_, queries, starts, left, batch_.wild), limits_.width);
  }

  const DeviceCorpus& corpus_;
  const Batch& batch_;
  const ScanLimits& limits_;
  Pairs pairs_;
  std::int64_t count_;       ///< Pairs.
  std::int64_t groups_ = 1;  ///< Of the longest list.
  at::Tensor minima_;        ///< (count_ + 1) x groups_
};

}  // namespace

Selection scan_csr(const DeviceCorpus& corpus, const Batch& batch, const ScanLimits& limits, SearchStats& stats) {
  return CsrScan(corpus, batch, limits, stats).run();
}

}  // namespace ivf::detail::torch_backend

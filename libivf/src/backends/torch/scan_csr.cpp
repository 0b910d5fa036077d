#include <algorithm>
#include <numeric>

#include "backends/torch/scan.h"

namespace ivf::detail::torch_backend {
namespace {

/// The (query, list) pairs of a batch, sorted by list. Pair i is query i / nprobe and its probe of rank i % nprobe.
struct Pairs {
  at::Tensor order;                  ///< Pairs in the order of their lists.
  std::vector<std::int64_t> counts;  ///< Pairs of each list.
  at::Tensor begins;                 ///< The first place in `order` of each list's pairs, nlist.
};

Pairs group_pairs(const DeviceCorpus& corpus, const Batch& batch, SearchStats& stats) {
  const std::int64_t nlist = corpus.nlist();
  const at::Tensor lists = batch.lists.reshape({-1});
  const at::Tensor bins = at::where(lists < 0, at::scalar_tensor(nlist, lists.options()), lists);
  Pairs pairs;
  pairs.order = std::get<1>(at::sort(bins, /*stable=*/true, 0, false));
  const at::Tensor counts =
      at::zeros({nlist + 1}, corpus.runtime().options(at::kLong)).index_add_(0, bins, at::ones_like(bins));
  pairs.begins = counts.cumsum(0) - counts;
  Download download(corpus.runtime());
  const at::Tensor host = download.add(counts);
  download.finish(stats);
  pairs.counts.assign(host.data_ptr<std::int64_t>(), host.data_ptr<std::int64_t>() + nlist);
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

/// Scans blocks of lists into a table of candidates for each pair.
class CsrScan {
 public:
  CsrScan(const DeviceCorpus& corpus, const Batch& batch, const ScanLimits& limits, SearchStats& stats)
      : corpus_(corpus),
        batch_(batch),
        limits_(limits),
        probed_(probed_lists(corpus, batch)),
        pairs_(group_pairs(corpus, batch, stats)),
        count_(batch.lists.numel()) {}

  Candidates run() {
    const auto lists = lists_with_work();
    std::int64_t longest = 1;
    for (const std::int64_t l : lists) longest = std::max(longest, rows_of(l));
    width_ = std::min(limits_.width, longest);
    // One more than there are pairs: where what belongs to none goes.
    scores_ =
        at::full({count_ + 1, width_}, std::numeric_limits<double>::infinity(), corpus_.runtime().options(at::kFloat));
    positions_ = at::zeros({count_ + 1, width_}, corpus_.runtime().options(at::kLong));
    const at::Tensor order = corpus_.runtime().upload(lists.data(), lists.size(), at::kLong);
    // A product, the selection's copy of it, and the operands.
    const auto cells = static_cast<std::int64_t>(std::max<std::uint64_t>(limits_.memory / 16, 1));
    for (const ListBlock& block : cut_blocks(lists, pairs_.counts, corpus_.host().offsets(), cells)) {
      scan_block(
          block,
          order.narrow(0, static_cast<std::int64_t>(block.first), static_cast<std::int64_t>(block.last - block.first)),
          cells);
    }
    const std::int64_t n = batch_.count();
    const std::int64_t all = batch_.lists.size(1) * width_;
    Candidates best = select(scores_.narrow(0, 0, count_).view({n, all}),
                             positions_.narrow(0, 0, count_).view({n, all}), limits_.width, true);
    // Lists of a query differ: together they have no more rows than the corpus.
    best.everything = width_ >= longest && limits_.width >= std::min(all, corpus_.count());
    return best;
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
    const std::int64_t rows = std::min(block.rows, std::max<std::int64_t>(cells / (members * 64), limits_.width));
    const std::int64_t queries = std::clamp<std::int64_t>(cells / (members * rows), 1, block.queries);
    const at::Tensor begins = pairs_.begins.index_select(0, lists).unsqueeze(1);
    const at::Tensor ends = pairs_.begins.index_select(0, lists + 1).unsqueeze(1);
    for (std::int64_t q = 0; q < block.queries; q += queries) {
      const std::int64_t n = std::min(queries, block.queries - q);
      const at::Tensor place = begins + at::arange(q, q + n, begins.options());  // members x n
      const at::Tensor pairs = at::where(place < ends, pairs_.order.take(place.clamp_max(count_ - 1)),
                                         at::scalar_tensor(count_, begins.options()));
      Candidates best;
      for (std::int64_t r = 0; r < block.rows; r += rows) {
        best = merge(best, scan_tile(lists, pairs, r, std::min(rows, block.rows - r)), width_);
      }
      store(pairs.view({-1}), best);
    }
  }

  /// The best rows [first, first + n) of each list for its pairs (members x q): (members * q) x width.
  Candidates scan_tile(const at::Tensor& lists, const at::Tensor& pairs, std::int64_t first, std::int64_t n) {
    const std::int64_t members = lists.size(0), q = pairs.size(1), nprobe = batch_.lists.size(1);
    const at::Tensor column = at::arange(first, first + n, lists.options());
    const at::Tensor starts = corpus_.offsets().index_select(0, lists).unsqueeze(1);
    const at::Tensor sizes = corpus_.offsets().index_select(0, lists + 1).unsqueeze(1) - starts;
    const at::Tensor none = column.unsqueeze(0) >= sizes;  // members x n
    const at::Tensor positions = (starts + column).masked_fill(none, 0);
    const at::Tensor flat = positions.view({-1});
    const at::Tensor rows = corpus_.gather(flat).view({members, n, corpus_.dim()});
    at::Tensor bias = corpus_.bias().index_select(0, flat).view({members, 1, n});
    const at::Tensor pad = none.unsqueeze(1);
    constexpr double infinity = std::numeric_limits<double>::infinity();
    if (!batch_.wild) bias = bias.masked_fill(pad, infinity);  // Adds nothing to the large tensors.
    const at::Tensor valid_pairs = pairs.clamp_max(count_ - 1).view({-1});
    const at::Tensor queries =
        batch_.queries.index_select(0, at::floor_divide(valid_pairs, nprobe)).view({members, q, corpus_.dim()});
    at::Tensor scores = batch_scores(bias, queries, rows, corpus_.inner_product());
    if (batch_.wild) {
      make_finite(scores);
      scores.masked_fill_(pad, infinity);
    }
    if (batch_.max_codes != 0) {
      const at::Tensor limits = probed_.sizes.reshape({-1}).take(valid_pairs).view({members, q, 1});
      scores.masked_fill_(column.view({1, 1, n}) >= limits, infinity);
    }
    auto [best, index] = at::topk(scores.view({members * q, n}), std::min(width_, n), 1, /*largest=*/false, false);
    // The row's place in the list becomes its position.
    const at::Tensor found = (index.view({members, q, -1}) + (starts + first).unsqueeze(2)).view({members * q, -1});
    return {best, found, false};
  }

  void store(const at::Tensor& pairs, const Candidates& best) {
    const std::int64_t n = best.scores.size(1);
    scores_.narrow(1, 0, n).index_copy_(0, pairs, best.scores);
    positions_.narrow(1, 0, n).index_copy_(0, pairs, best.positions);
  }

  const DeviceCorpus& corpus_;
  const Batch& batch_;
  const ScanLimits& limits_;
  ProbedLists probed_;
  Pairs pairs_;
  std::int64_t count_;      ///< Pairs.
  std::int64_t width_ = 1;  ///< Candidates kept of a pair.
  at::Tensor scores_, positions_;
};

}  // namespace

Candidates scan_csr(const DeviceCorpus& corpus, const Batch& batch, const ScanLimits& limits, SearchStats& stats) {
  return CsrScan(corpus, batch, limits, stats).run();
}

}  // namespace ivf::detail::torch_backend

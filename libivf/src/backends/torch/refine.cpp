#include "backends/torch/refine.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>

#include "backends/cpu/levels.h"
#include "parallel.h"

namespace ivf::detail::torch_backend {
namespace {

/// Whether every value is a multiple of 2^low and below 2^high.
bool fits_places(const float* values, std::size_t d, int low, int high) noexcept {
  const double unit = std::ldexp(1.0, -low), limit = std::ldexp(1.0, high);
  for (std::size_t i = 0; i < d; ++i) {
    const double steps = values[i] * unit;
    if (steps != std::rint(steps) || !(std::fabs(static_cast<double>(values[i])) < limit)) return false;
  }
  return true;
}

/// The largest `high` for which sums of d squared differences of multiples of 2^low are exact in double.
int exact_limit(int low, std::size_t d) noexcept {
  const int terms = static_cast<int>(std::bit_width(d));
  return low + (53 - terms) / 2 - 1;
}

}  // namespace

std::vector<QueryFacts> query_facts(const DeviceCorpus& corpus, MatrixView queries, unsigned threads, bool& wild) {
  std::vector<QueryFacts> facts(queries.rows);
  const HostRows& rows = corpus.host();
  const double largest = corpus.largest_norm();
  const bool few_places = rows.low() < rows.high();
  const int limit = exact_limit(rows.low(), queries.dim);
  std::atomic<bool> any_wild{false};
  const cpu::RowKernels& kernels = *cpu::levels().back().rows;
  parallel_for(threads, queries.rows, 64, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t i = begin; i < end; ++i) {
      QueryFacts& fact = facts[i];
      fact.square = kernels.self_dot(queries.row(i), queries.dim);
      const double norm = std::sqrt(fact.square) * (1 + 0x1p-30);
      fact.doubt = score_doubt(norm, largest, corpus.rounding(), queries.dim, corpus.inner_product());
      if (fact.doubt == infinity) any_wild.store(true, std::memory_order_relaxed);
      fact.rounding = norm * largest;
      fact.exact = few_places && rows.high() <= limit && fits_places(queries.row(i), queries.dim, rows.low(), limit);
    }
  });
  wild = any_wild.load();
  return facts;
}

at::Tensor double_sums(const DeviceCorpus& corpus, const at::Tensor& queries, const at::Tensor& positions,
                       std::uint64_t memory) {
  const std::int64_t n = positions.size(0), width = positions.size(1);
  const std::int64_t chunk = std::clamp<std::int64_t>(
      static_cast<std::int64_t>(memory) / std::max<std::int64_t>(width * corpus.dim() * 32, 1), 1, n);
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < n; first += chunk) {
    const std::int64_t count = std::min(chunk, n - first);
    const at::Tensor rows = corpus.gather(positions.narrow(0, first, count).reshape({-1}))
                                .view({count, width, corpus.dim()})
                                .to(at::kDouble);
    const at::Tensor wide = queries.narrow(0, first, count).to(at::kDouble).unsqueeze(1);
    if (corpus.inner_product()) {
      parts.push_back(at::mul(rows, wide).sum(2));
    } else {
      const at::Tensor difference = at::sub(rows, wide);
      parts.push_back(at::mul(difference, difference).sum(2));
    }
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts, 0);
}

RefinedBatch::RefinedBatch(const DeviceCorpus& corpus, const Batch& batch, const Selection& selection,
                           std::uint64_t memory, Download& download)
    : corpus_(corpus),
      width_(static_cast<std::size_t>(selection.best.scores.size(1))),
      everything_(selection.everything),
      scores_(download.add(selection.best.scores)),
      bound_(download.add(selection.bound.contiguous())) {
  at::Tensor positions = selection.best.positions;
  // Places that hold no row may have any position.
  positions = positions.masked_fill(selection.best.scores == infinity, 0);
  positions_ = download.add(positions);
  if (!corpus.exact_rows() || !corpus.runtime().float64()) return;
  sums_ = download.add(double_sums(corpus, batch.queries, positions, memory));
  ids_ = download.add(corpus.ids().take(positions));
}

void RefinedBatch::canonical_scores(std::size_t query, const float* values, const QueryFacts& facts,
                                    std::vector<Hit>& hits, SearchStats& stats) const {
  const float* scores = scores_.data_ptr<float>() + query * width_;
  const std::int64_t* positions = positions_.data_ptr<std::int64_t>() + query * width_;
  const bool ip = corpus_.inner_product();
  const HostRows& host = corpus_.host();
  const auto score_of = [ip](float value) { return ip ? 0.0f - value : 0.0f + value; };
  std::vector<std::int64_t> open;  // To be re-computed here.
  std::vector<std::size_t> places;
  hits.clear();
  for (std::size_t j = 0; j < width_; ++j) {
    if (scores[j] == infinity) continue;
    ++stats.rows_refined;
    if (!sums_.defined()) {
      open.push_back(positions[j]);
      places.push_back(hits.size());
      hits.push_back({0, host.id(static_cast<std::uint64_t>(positions[j]))});
      continue;
    }
    const double sum = sums_.data_ptr<double>()[query * width_ + j];
    const double doubt = facts.exact ? 0 : double_doubt(ip ? facts.rounding : sum, host.dim());
    // The canonical sum lies within `doubt`: where both ends round alike, so does it.
    const auto low = static_cast<float>(sum - doubt), high = static_cast<float>(sum + doubt);
    if (low != high) {
      open.push_back(positions[j]);
      places.push_back(hits.size());
    }
    hits.push_back({score_of(low), ids_.data_ptr<std::int64_t>()[query * width_ + j]});
  }
  if (open.empty()) return;
  std::vector<float> exact(open.size());
  host.values(values, open.data(), open.size(), exact.data());
  for (std::size_t i = 0; i < open.size(); ++i) hits[places[i]].score = score_of(exact[i]);
  if (sums_.defined()) ++stats.queries_on_host;
}

bool RefinedBatch::finish(std::size_t query, const float* values, const QueryFacts& facts, std::size_t k,
                          std::vector<Hit>& hits, SearchStats& stats) const {
  canonical_scores(query, values, facts, hits, stats);
  const std::size_t found = std::min(k, hits.size());
  std::partial_sort(hits.begin(), hits.begin() + static_cast<std::ptrdiff_t>(found), hits.end(),
                    [](const Hit& a, const Hit& b) { return a.score != b.score ? a.score < b.score : a.id < b.id; });
  hits.resize(found);
  const float bound = bound_.data_ptr<float>()[query];
  if (everything_ || bound == infinity) return true;
  if (found < k) return false;
  const double left_out =
      static_cast<double>(bound) + (corpus_.inner_product() ? 0.0 : facts.square) - static_cast<double>(facts.doubt);
  return left_out > static_cast<double>(hits.back().score);
}

}  // namespace ivf::detail::torch_backend

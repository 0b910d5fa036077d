#include "backends/torch/search.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include <fmt/format.h>

#include "backends/torch/torch_backend.h"
#include "parallel.h"
#include "search/plan.h"

namespace ivf::detail::torch_backend {
namespace {

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

/// The chosen rows of a matrix: a view when they follow each other, copies otherwise.
class ChosenRows {
 public:
  ChosenRows(MatrixView all, std::span<const std::uint32_t> chosen) {
    if (chosen.back() - chosen.front() + 1 == chosen.size()) {  // Numbers ascend.
      view_ = all.slice(chosen.front(), chosen.size());
      return;
    }
    copy_.resize(chosen.size() * all.dim);
    for (std::size_t i = 0; i < chosen.size(); ++i) std::copy_n(all.row(chosen[i]), all.dim, &copy_[i * all.dim]);
    view_ = MatrixView(copy_.data(), chosen.size(), all.dim);
  }
  MatrixView view() const noexcept { return view_; }

 private:
  std::vector<float> copy_;
  MatrixView view_;
};

}  // namespace

std::shared_ptr<const DeviceCorpus> resident_of(const std::shared_ptr<const Runtime>& runtime, const Corpus& corpus,
                                                DeviceType dtype) {
  if (auto there = std::dynamic_pointer_cast<const DeviceCorpus>(corpus.resident)) return there;
  return DeviceCorpus::load(runtime, corpus, dtype);
}

std::shared_ptr<const DeviceCorpus> searched_rows(const std::shared_ptr<const Runtime>& runtime,
                                                  const ScanRequest& request, DeviceType dtype) {
  auto there = resident_of(runtime, *request.corpus, dtype);
  return request.corpus->hidden.empty() ? there : there->without(request.corpus->hidden, request.threads);
}

at::Tensor upload_rows(const Runtime& runtime, MatrixView rows, unsigned threads) {
  at::Tensor host =
      runtime.staging({static_cast<std::int64_t>(rows.rows), static_cast<std::int64_t>(rows.dim)}, at::kFloat);
  auto* values = host.data_ptr<float>();
  const std::size_t grain = std::max<std::size_t>(1, (std::size_t{1} << 18) / rows.dim);
  parallel_for(threads, rows.rows, grain, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t i = begin; i < end; ++i) std::copy_n(rows.row(i), rows.dim, values + i * rows.dim);
  });
  return runtime.upload(host);
}

at::Tensor canonical_lists(const std::shared_ptr<const Runtime>& runtime, const ScanRequest& request, std::size_t first,
                           MatrixView queries, SearchStats& stats) {
  const auto n = static_cast<std::int64_t>(queries.rows);
  if (request.coarse == nullptr) {
    if (request.probes.lists == nullptr) return {};
    const std::size_t nprobe = request.probes.nprobe;
    return runtime->upload(request.probes.lists + first * nprobe, queries.rows * nprobe, at::kInt)
        .to(at::kLong)
        .view({n, static_cast<std::int64_t>(nprobe)});
  }
  ScanRequest step = request;
  step.corpus = request.coarse;
  step.coarse = nullptr;
  step.queries = queries;
  step.max_codes = 0;
  step.progress = nullptr;
  std::vector<float> values(queries.rows * request.coarse_nprobe);
  std::vector<idx_t> lists(values.size());
  SearchStats unused;
  Search(runtime, DeviceType::float32, step, request.coarse_nprobe, unused).run(values.data(), lists.data());
  stats.host_syncs += unused.host_syncs;
  return runtime->upload(lists.data(), lists.size(), at::kLong)
      .view({n, static_cast<std::int64_t>(request.coarse_nprobe)});
}

Search::Search(std::shared_ptr<const Runtime> runtime, DeviceType dtype, const ScanRequest& request, std::size_t k,
               SearchStats& stats)
    : runtime_(std::move(runtime)),
      dtype_(dtype),
      request_(request),
      k_(k),
      stats_(stats),
      corpus_(searched_rows(runtime_, request, dtype)),
      memory_(request.max_memory == 0 ? std::uint64_t{1} << 30 : request.max_memory) {
  if (request.coarse != nullptr) {
    centroids_ = resident_of(runtime_, *request.coarse, DeviceType::float32);
    nprobe_ = request.coarse_nprobe;
  } else if (request.probes.lists != nullptr) {
    nprobe_ = request.probes.nprobe;
  }
}

std::int64_t Search::width(Breadth breadth) const noexcept {
  const auto k = static_cast<std::int64_t>(k_);
  // A few more than k, so that the proof has room for the filter's error; far more where 16 bits make that large.
  const std::int64_t first = dtype_ == DeviceType::float32 ? k + 8 + k / 8 : 2 * k + 128;
  switch (breadth) {
    case Breadth::first:
      return std::min(first, corpus_->count());
    case Breadth::wide:
      return std::min(8 * first, corpus_->count());
    case Breadth::everything:
      break;
  }
  return corpus_->count();
}

std::size_t Search::batch_size(Breadth breadth) const noexcept {
  // What a query takes until its batch is done: itself, its lists, its candidates here and on the device and, in csr,
  // the best score of each group of its lists.
  const auto candidates = static_cast<std::uint64_t>(width(breadth));
  const std::uint64_t rows = request_.corpus->rows / std::max<std::uint64_t>(request_.corpus->nlist, 1) + 1;
  const std::uint64_t per_list = stats_.chosen_mode == SearchMode::csr ? (rows / group_rows + 1) * 8 + 80 : 80;
  const std::uint64_t query_bytes = candidates * 96 + request_.queries.dim * 16 + nprobe_ * per_list;
  return std::clamp<std::size_t>(memory_ / 4 / query_bytes, 1, request_.queries.rows);
}

void Search::run(float* values, idx_t* ids) {
  const std::size_t nq = request_.queries.rows;
  const std::size_t lists = nprobe_ == 0 ? request_.corpus->nlist : nprobe_;
  stats_.avg_group_size = average_group(nq, lists, request_.corpus->nlist);
  stats_.auto_threshold = auto_threshold(request_.corpus->nlist);
  stats_.chosen_mode = request_.mode != SearchMode::automatic           ? request_.mode
                       : stats_.avg_group_size >= stats_.auto_threshold ? SearchMode::csr
                                                                        : SearchMode::matrix;
  if (corpus_->count() == 0) {
    for (std::uint32_t q = 0; q < nq; ++q) put(q, {}, values, ids);
    return;
  }
  std::vector<std::uint32_t> open(nq);
  std::iota(open.begin(), open.end(), 0u);
  for (const Breadth breadth : {Breadth::first, Breadth::wide, Breadth::everything}) {
    std::vector<std::uint32_t> unproven;
    const std::size_t batch = open.empty() ? 1 : batch_size(breadth);
    for (std::size_t first = 0; first < open.size(); first += batch) {
      const std::size_t n = std::min(batch, open.size() - first);
      const auto failed = run_batch(std::span(open).subspan(first, n), breadth, values, ids);
      unproven.insert(unproven.end(), failed.begin(), failed.end());
      if (breadth == Breadth::first && request_.progress != nullptr && *request_.progress) {
        (*request_.progress)("search", first + n, nq);
      }
    }
    if (breadth == Breadth::first) stats_.queries_widened += unproven.size();
    open = std::move(unproven);
  }
  // With every row taken there is nothing left to prove: this is a fault of the program, not of the data.
  if (!open.empty()) {
    throw Error(ErrorKind::failed,
                fmt::format("{}: expected proven results for {} queries, found {} without; please report "
                            "it with the index, and search with --device cpu meanwhile",
                            runtime_->name(), nq, open.size()));
  }
}

std::vector<std::uint32_t> Search::run_batch(std::span<const std::uint32_t> queries, Breadth breadth, float* values,
                                             idx_t* ids) {
  auto start = std::chrono::steady_clock::now();
  const ChosenRows chosen(request_.queries, queries);
  const MatrixView rows = chosen.view();
  Batch batch;
  batch.queries = upload_rows(*runtime_, rows, request_.threads);
  batch.max_codes = request_.max_codes;
  const auto facts = query_facts(*corpus_, rows, request_.threads, batch.wild);
  const Coarse step = coarse(batch, rows, queries, breadth);
  if (step.lists.defined()) probe_lists(*corpus_, step.lists, centroids_ != nullptr, batch);
  stats_.coarse_ms += milliseconds_since(start);
  start = std::chrono::steady_clock::now();

  const ScanLimits limits{width(breadth), memory_ / 2};
  Download download(*runtime_);
  const auto fetch = [&](const at::Tensor& one) { return one.defined() ? download.add(one) : one; };
  const Coarse proof{{}, fetch(step.gap), fetch(step.margin)};
  const at::Tensor scanned = fetch(batch.lists.defined() ? batch.probed.sizes.sum().view({1}) : at::Tensor());
  const std::vector<Piece> pieces = cut(batch);
  std::vector<RefinedBatch> refined;  // Of each piece. All are started before the host waits for the first.
  for (const Piece& piece : pieces) {
    const Batch part =
        batch.slice(static_cast<std::int64_t>(piece.first), static_cast<std::int64_t>(piece.count), piece.widest);
    const Selection found =
        by_list(part) ? scan_csr(*corpus_, part, limits, stats_) : scan_matrix(*corpus_, part, limits, stats_);
    refined.emplace_back(*corpus_, part, found, memory_ / 4, download);
  }
  bool wild = false;
  const auto coarse_facts =
      proof.gap.defined() ? query_facts(*centroids_, rows, request_.threads, wild) : std::vector<QueryFacts>();
  download.finish(stats_);
  stats_.scan_ms += milliseconds_since(start);
  start = std::chrono::steady_clock::now();

  stats_.rows_scanned += scanned.defined() ? static_cast<std::uint64_t>(scanned.item<std::int64_t>())
                                           : queries.size() * corpus_->host().count();
  stats_.lists_scanned += queries.size() * (nprobe_ == 0 ? request_.corpus->nlist : nprobe_);
  const auto piece_of = [&](std::size_t query) {
    const auto after = std::upper_bound(pieces.begin(), pieces.end(), query,
                                        [](std::size_t q, const Piece& piece) { return q < piece.first; });
    return static_cast<std::size_t>(after - pieces.begin()) - 1;
  };
  std::vector<SearchStats> parts(request_.threads);
  std::vector<char> proven(queries.size());
  parallel_for(request_.threads, queries.size(), 32, [&](std::size_t begin, std::size_t end, unsigned thread) {
    std::vector<Hit> hits;
    for (std::size_t i = begin; i < end; ++i) {
      if (proof.gap.defined() && !lists_proven(proof, i, coarse_facts[i])) continue;
      const std::size_t p = piece_of(i);
      proven[i] = refined[p].finish(i - pieces[p].first, rows.row(i), facts[i], k_, hits, parts[thread]);
      if (proven[i]) put(queries[i], hits, values, ids);
    }
  });
  for (const SearchStats& part : parts) {
    stats_.rows_refined += part.rows_refined;
    stats_.queries_on_host += part.queries_on_host;
  }
  std::vector<std::uint32_t> unproven;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    if (!proven[i]) unproven.push_back(queries[i]);
  }
  stats_.merge_ms += milliseconds_since(start);
  return unproven;
}

bool Search::by_list(const Batch& batch) const {
  // Below one query a list, grouping reads hardly any list less often: in csr, too, lists are then read for each query.
  return batch.lists.defined() && stats_.chosen_mode == SearchMode::csr &&
         batch.count() * batch.nprobe() >= corpus_->nlist();
}

std::vector<Search::Piece> Search::cut(const Batch& batch) {
  const auto n = static_cast<std::size_t>(batch.count());
  std::vector<Piece> pieces;
  if (!batch.lists.defined()) {
    constexpr std::size_t most = 2048;  // Products wide enough to be quick; more queries would make them low.
    for (std::size_t first = 0; first < n; first += most) pieces.push_back({first, std::min(most, n - first), -1});
    return pieces;
  }
  if (by_list(batch)) return {{0, n, -1}};
  // A piece holds a copy of all rows of its queries, each as wide as the widest.
  Download download(*runtime_);
  const at::Tensor totals = download.add(batch.totals().contiguous());
  download.finish(stats_);
  const auto* groups = totals.data_ptr<std::int64_t>();
  const std::int64_t cell = (corpus_->dim() * (corpus_->exact_rows() ? 4 : 10) + 24) * group_rows;
  const std::int64_t fit = static_cast<std::int64_t>(memory_ / 2) / cell;
  for (std::size_t i = 0; i < n; ++i) {
    if (!pieces.empty()) {
      Piece& last = pieces.back();
      const std::int64_t widest = std::max(last.widest, groups[i]);
      if (static_cast<std::int64_t>(last.count + 1) * widest <= fit) {
        last.widest = widest;
        ++last.count;
        continue;
      }
    }
    pieces.push_back({i, 1, groups[i]});
  }
  return pieces;
}

Search::Coarse Search::coarse(const Batch& batch, MatrixView queries, std::span<const std::uint32_t> numbers,
                              Breadth breadth) {
  if (nprobe_ == 0) return {};
  const auto n = static_cast<std::int64_t>(numbers.size()), nprobe = static_cast<std::int64_t>(nprobe_);
  if (centroids_ == nullptr) {
    std::vector<std::int64_t> lists(numbers.size() * nprobe_);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      std::copy_n(request_.probes.lists + numbers[i] * nprobe_, nprobe_, &lists[i * nprobe_]);
    }
    return {runtime_->upload(lists.data(), lists.size(), at::kLong).view({n, nprobe}), {}, {}};
  }
  // Where a cap counts rows in the order of the lists, approximate order is not enough.
  if (breadth != Breadth::first || request_.max_codes != 0) {
    return {canonical_lists(runtime_, request_, 0, queries, stats_), {}, {}};
  }
  return nearest_lists(batch);
}

Search::Coarse Search::nearest_lists(const Batch& batch) {
  const auto nprobe = static_cast<std::int64_t>(nprobe_);
  Batch step;
  step.queries = batch.queries;
  step.wild = batch.wild || !(centroids_->largest_norm() < largest_norm);
  // Doubt about the last list sends a query back for another search. That is rare enough for a few queries; for many,
  // values in double are cheaper.
  constexpr std::int64_t many = 64, spare = 8;
  const bool refine = batch.count() >= many && runtime_->float64();
  const std::int64_t width = std::min(nprobe + (refine ? spare : 1), centroids_->count());
  const Selection found = scan_matrix(*centroids_, step, {width, memory_ / 2}, stats_);
  const at::Tensor& positions = found.best.positions;
  if (found.best.scores.size(1) <= nprobe) return {positions, {}, {}};
  if (!refine) {
    // The set of lists is the canonical one if the first that was left out is far enough from the last that is in.
    const at::Tensor gap = found.best.scores.select(1, nprobe) - found.best.scores.select(1, nprobe - 1);
    return {positions.narrow(1, 0, nprobe), gap, {}};
  }
  at::Tensor sums = double_sums(*centroids_, batch.queries, positions, memory_ / 4);
  if (centroids_->inner_product()) sums = sums.neg_();
  auto [values, order] = at::topk(sums, nprobe + 1, 1, /*largest=*/false, /*sorted=*/true);
  const at::Tensor last = values.select(1, nprobe - 1), next = values.select(1, nprobe);
  // Lists are ordered by float32 values: two that might round to the same one are not told apart.
  const at::Tensor gap = next - last - (next.abs() + last.abs()) * 0x1p-22;
  const at::Tensor margin = found.bound.to(at::kDouble) - last;
  return {positions.gather(1, order.narrow(1, 0, nprobe)), gap, margin};
}

bool Search::lists_proven(const Coarse& proof, std::size_t query, const QueryFacts& facts) const {
  const double doubt = facts.doubt;
  if (!proof.margin.defined()) return static_cast<double>(proof.gap.data_ptr<float>()[query]) > 2 * doubt;
  const bool ip = centroids_->inner_product();
  // The relative part of the doubt is far below the 2^-22 that the gap pays for already.
  const double rounding = ip ? 2 * double_doubt(facts.rounding, centroids_->host().dim()) : 0;
  return proof.gap.data_ptr<double>()[query] > rounding &&
         proof.margin.data_ptr<double>()[query] + (ip ? 0.0 : facts.square) - doubt > 0;
}

void Search::put(std::uint32_t query, const std::vector<Hit>& hits, float* values, idx_t* ids) const {
  const bool ip = request_.corpus->inner_product;
  for (std::size_t i = 0; i < k_; ++i) {
    const bool there = i < hits.size();
    const float score = there ? hits[i].score : infinity;
    values[query * k_ + i] = ip ? 0.0f - score : score;
    ids[query * k_ + i] = there ? hits[i].id : -1;
  }
}

}  // namespace ivf::detail::torch_backend

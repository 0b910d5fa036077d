#include "backends/torch/held_rows.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "parallel.h"

namespace ivf::detail::torch_backend {

at::Tensor hold_on_device(const Runtime& runtime, MatrixView rows, unsigned threads) {
  runtime.require_memory(rows.rows * rows.dim * sizeof(float),
                         fmt::format("{} rows of dimension {}", rows.rows, rows.dim));
  return on_device(runtime, threads, [&] {
    const at::Tensor values = at::empty({static_cast<std::int64_t>(rows.rows), static_cast<std::int64_t>(rows.dim)},
                                        runtime.options(at::kFloat));
    const std::size_t piece = std::max<std::size_t>(1, (std::size_t{32} << 20) / (rows.dim * sizeof(float)));
    for (std::size_t first = 0; first < rows.rows; first += piece) {
      const std::size_t n = std::min(piece, rows.rows - first);
      values.narrow(0, static_cast<std::int64_t>(first), static_cast<std::int64_t>(n))
          .copy_(upload_rows(runtime, rows.slice(first, n), threads));
    }
    return values;
  });
}

DeviceRows::DeviceRows(std::shared_ptr<const Runtime> runtime, MatrixView rows, unsigned threads,
                       std::uint64_t max_memory)
    : runtime_(std::move(runtime)),
      rows_(rows),
      threads_(threads),
      memory_(max_memory == 0 ? std::uint64_t{1} << 30 : max_memory) {
  values_ = hold_on_device(*runtime_, rows, threads);
}

void DeviceRows::assign(const Corpus& centroids, std::int32_t* list, float* value) {
  on_device(*runtime_, threads_, [&] {
    const auto placed = resident_of(runtime_, centroids, DeviceType::float32);
    // Half of the memory for the scores, a quarter for the rows and centroids in double.
    const std::size_t row_bytes = centroids.rows * 8 + rows_.dim * 64;
    const std::size_t batch = std::clamp<std::size_t>(memory_ / 2 / row_bytes, 1, std::max<std::size_t>(rows_.rows, 1));
    std::vector<std::uint32_t> unproven;
    for (std::size_t first = 0; first < rows_.rows; first += batch) {
      assign_batch(*placed, first, std::min(batch, rows_.rows - first), list, value, unproven);
    }
    if (unproven.empty()) return;
    Corpus again = centroids;
    again.resident = placed;
    assign_again(again, unproven, list, value);
  });
}

void DeviceRows::assign_batch(const DeviceCorpus& centroids, std::size_t first, std::size_t n, std::int32_t* list,
                              float* value, std::vector<std::uint32_t>& unproven) {
  Batch batch;
  const MatrixView rows = rows_.slice(first, n);
  batch.queries = values_.narrow(0, static_cast<std::int64_t>(first), static_cast<std::int64_t>(n));
  const auto facts = query_facts(centroids, rows, threads_, batch.wild);
  SearchStats stats;
  const std::int64_t two = std::min<std::int64_t>(2, centroids.count());
  const Candidates best = scan_matrix(centroids, batch, {two, memory_ / 4}, stats).best;
  // The second best score tells whether the best one is certain.
  Selection nearest;
  nearest.best = {best.scores.narrow(1, 0, 1).contiguous(), best.positions.narrow(1, 0, 1).contiguous()};
  nearest.bound = nearest.best.scores.select(1, 0);
  nearest.everything = true;
  Download download(*runtime_);
  const at::Tensor gaps = two == 1 ? at::Tensor() : download.add(best.scores.select(1, 1) - best.scores.select(1, 0));
  const RefinedBatch refined(centroids, batch, nearest, memory_ / 4, download);
  download.finish(stats);
  std::vector<char> proven(n);
  parallel_for(threads_, n, 256, [&](std::size_t begin, std::size_t end, unsigned) {
    std::vector<Hit> hits;
    SearchStats unused;
    for (std::size_t i = begin; i < end; ++i) {
      proven[i] =
          !gaps.defined() || static_cast<double>(gaps.data_ptr<float>()[i]) > 2 * static_cast<double>(facts[i].doubt);
      if (!proven[i]) continue;
      refined.finish(i, rows.row(i), facts[i], 1, hits, unused);
      list[first + i] = static_cast<std::int32_t>(hits[0].id);
      if (value != nullptr) value[first + i] = centroids.inner_product() ? 0.0f - hits[0].score : hits[0].score;
    }
  });
  for (std::size_t i = 0; i < n; ++i) {
    if (!proven[i]) unproven.push_back(static_cast<std::uint32_t>(first + i));
  }
}

void DeviceRows::assign_again(const Corpus& centroids, const std::vector<std::uint32_t>& rows, std::int32_t* list,
                              float* value) {
  std::vector<float> copies(rows.size() * rows_.dim);
  for (std::size_t i = 0; i < rows.size(); ++i) std::copy_n(rows_.row(rows[i]), rows_.dim, &copies[i * rows_.dim]);
  ScanRequest request;
  request.corpus = &centroids;
  request.queries = MatrixView(copies.data(), rows.size(), rows_.dim);
  request.threads = threads_;
  request.max_memory = memory_;
  std::vector<float> values(rows.size());
  std::vector<idx_t> ids(rows.size());
  SearchStats stats;
  Search(runtime_, DeviceType::float32, request, 1, stats).run(values.data(), ids.data());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    list[rows[i]] = static_cast<std::int32_t>(ids[i]);
    if (value != nullptr) value[rows[i]] = values[i];
  }
}

void DeviceRows::update_sums(const FixedPoint& fixed, std::size_t nlist, const std::int32_t* before,
                             const std::int32_t* after, std::uint64_t* sums, std::uint64_t* sizes) {
  if (!runtime_->float64()) {
    cpu_backend().hold(rows_, threads_, memory_)->update_sums(fixed, nlist, before, after, sums, sizes);
    return;
  }
  // All rows are added anew: that is faster here than to find those that have moved.
  std::fill_n(sizes, nlist, 0);
  for (std::size_t i = 0; i < rows_.rows; ++i) ++sizes[static_cast<std::size_t>(after[i])];
  on_device(*runtime_, threads_, [&] {
    const auto dim = static_cast<std::int64_t>(rows_.dim);
    at::Tensor totals = at::zeros({static_cast<std::int64_t>(nlist), dim}, runtime_->options(at::kLong));
    const at::Tensor lists = runtime_->upload(after, rows_.rows, at::kInt).to(at::kLong);
    const auto n = static_cast<std::int64_t>(rows_.rows);
    const std::int64_t piece =
        std::clamp<std::int64_t>(static_cast<std::int64_t>(memory_ / 2) / (dim * 24), 1, std::max<std::int64_t>(n, 1));
    // x * 2^s is exact, and rounded to the nearest integer, ties to even: the integer that fixed_point.h defines.
    const double factor = std::ldexp(1.0, fixed.shift);
    for (std::int64_t first = 0; first < n; first += piece) {
      const std::int64_t count = std::min(piece, n - first);
      const at::Tensor steps = values_.narrow(0, first, count).to(at::kDouble).mul_(factor).round_().to(at::kLong);
      totals.index_add_(0, lists.narrow(0, first, count), steps);
    }
    const at::Tensor host = totals.to(at::kCPU);
    const auto* values = host.data_ptr<std::int64_t>();
    const auto magic = std::bit_cast<std::uint64_t>(fixed.magic);
    for (std::size_t c = 0; c < nlist; ++c) {
      for (std::size_t j = 0; j < rows_.dim; ++j) {
        sums[c * rows_.dim + j] = static_cast<std::uint64_t>(values[c * rows_.dim + j]) + sizes[c] * magic;
      }
    }
  });
}

}  // namespace ivf::detail::torch_backend

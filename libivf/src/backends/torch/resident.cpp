#include "backends/torch/resident.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "ivf/index.hpp"
#include "parallel.h"

namespace ivf::detail::torch_backend {
namespace {

/// Rows are converted and sent in pieces of this many bytes: a copy runs while the next piece is made.
constexpr std::size_t staging_bytes = std::size_t{32} << 20;

at::ScalarType scalar_type(DeviceType dtype) noexcept {
  switch (dtype) {
    case DeviceType::float16:
      return at::kHalf;
    case DeviceType::bfloat16:
      return at::kBFloat16;
    case DeviceType::float32:
      break;
  }
  return at::kFloat;
}

/// The power of two that brings values up to `largest` below 2^15, which float16 holds with room.
double scale_for(DeviceType dtype, double largest) noexcept {
  if (dtype != DeviceType::float16 || !(largest > 0)) return 1;
  return std::ldexp(1.0, 14 - std::clamp(std::ilogb(largest), -100, 127));
}

}  // namespace

DeviceCorpus::DeviceCorpus(std::shared_ptr<const Runtime> runtime, const Corpus& corpus, DeviceType dtype)
    : runtime_(std::move(runtime)), host_(std::make_shared<const HostRows>(corpus)), dtype_(dtype) {}

std::shared_ptr<const DeviceCorpus> DeviceCorpus::load(std::shared_ptr<const Runtime> runtime, const Corpus& corpus,
                                                       DeviceType dtype) {
  const std::shared_ptr<DeviceCorpus> result(new DeviceCorpus(std::move(runtime), corpus, dtype));
  const HostRows& host = result->host();
  const std::uint64_t value_bytes = dtype == DeviceType::float32 ? 4 : 2;
  result->reserved_ = std::make_shared<Reservation>(
      result->runtime_,
      (host.count() + group_rows) * (host.dim() * value_bytes + sizeof(float) + sizeof(idx_t)) +
          host.offsets().size() * sizeof(std::int64_t),
      fmt::format("{} rows of dimension {}", host.count(), host.dim()));
  on_device(result->runtime(), available_threads(), [&] { result->fill(); });
  return result;
}

std::shared_ptr<const DeviceCorpus> DeviceCorpus::without(std::span<const std::span<const std::uint64_t>> hidden,
                                                          unsigned threads) const {
  const std::shared_ptr<DeviceCorpus> result(new DeviceCorpus(*this));
  result->filtered_ = true;
  result->reserved_ =
      std::make_shared<Reservation>(runtime_, (host_->count() + group_rows) * (sizeof(float) + sizeof(bool)),
                                    fmt::format("a filter of {} rows", host_->count()));
  const at::Tensor mask = runtime_->staging({count()}, at::kBool);
  parallel_for(threads, host_->count(), std::size_t{1} << 16, [&](std::size_t begin, std::size_t end, unsigned) {
    host_->get_hidden(hidden, begin, end - begin, mask.data_ptr<bool>() + begin);
  });
  result->bias_ = bias_.clone();
  result->bias_.narrow(0, 0, count()).masked_fill_(runtime_->upload(mask), std::numeric_limits<double>::infinity());
  return result;
}

void DeviceCorpus::fill() {
  const unsigned threads = available_threads();
  const std::size_t stride = host_->dim();
  const std::int64_t n = count();
  // Small arrays first: the largest norm sets the scale of the rows.
  at::Tensor norms = runtime_->staging({n}, at::kFloat);
  at::Tensor ids = runtime_->staging({n}, at::kLong);
  constexpr std::size_t grain = 1 << 16;
  parallel_for(threads, host_->count(), grain, [&](std::size_t begin, std::size_t end, unsigned) {
    host_->get_norms(begin, end - begin, norms.data_ptr<float>() + begin);
    host_->get_ids(begin, end - begin, ids.data_ptr<std::int64_t>() + begin);
  });
  float largest = 0;
  for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, norms.data_ptr<float>()[i]);
  // Half an ulp for the rounding of the stored square, and room for one that went to zero.
  largest_norm_ = std::sqrt(static_cast<double>(largest) * (1 + 0x1p-22) + 0x1p-148);
  if (!(largest_norm_ < std::numeric_limits<float>::max())) largest_norm_ = std::numeric_limits<double>::infinity();
  scale_ = scale_for(dtype_, std::min(largest_norm_, 0x1p127));
  rounding_ = rounding_of(dtype_, scale_, stride);

  ids_ = runtime_->upload(ids);
  bias_ = at::zeros({n + group_rows - 1}, runtime_->options(at::kFloat));
  // An infinite bias means something else. A score that it makes finite may be as wrong as any that overflows.
  if (!inner_product()) {
    bias_.narrow(0, 0, n).copy_(norms.clamp_max_(std::numeric_limits<float>::max()), /*non_blocking=*/true);
  }
  const std::vector<std::int64_t> offsets(host_->offsets().begin(), host_->offsets().end());
  offsets_ = runtime_->upload(offsets.data(), offsets.size(), at::kLong);
  sizes_ = offsets_.narrow(0, 1, nlist()) - offsets_.narrow(0, 0, nlist());

  rows_ = at::empty({n + group_rows - 1, dim()}, runtime_->options(scalar_type(dtype_)));
  rows_.narrow(0, n, group_rows - 1).zero_();
  const auto piece = static_cast<std::int64_t>(std::max<std::size_t>(1, staging_bytes / (stride * sizeof(float))));
  for (std::int64_t first = 0; first < n; first += piece) {
    const std::int64_t rows = std::min(piece, n - first);
    at::Tensor part = runtime_->on_host() && exact_rows() ? rows_.narrow(0, first, rows)
                                                          : runtime_->staging({rows, dim()}, at::kFloat);
    parallel_for(threads, static_cast<std::size_t>(rows), 1024, [&](std::size_t begin, std::size_t end, unsigned) {
      host_->get(static_cast<std::uint64_t>(first) + begin, end - begin, part.data_ptr<float>() + begin * stride);
    });
    if (exact_rows()) {
      if (!runtime_->on_host()) rows_.narrow(0, first, rows).copy_(part, /*non_blocking=*/true);
    } else {
      at::Tensor values = runtime_->upload(part);
      rows_.narrow(0, first, rows).copy_(scale_ == 1 ? values : values * scale_);
    }
  }
}

at::Tensor DeviceCorpus::restored(const at::Tensor& rows) const {
  if (exact_rows()) return rows;
  at::Tensor values = rows.to(at::kFloat);
  return scale_ == 1 ? values : values * (1 / scale_);
}

at::Tensor DeviceCorpus::slice(std::int64_t first, std::int64_t n) const { return restored(rows_.narrow(0, first, n)); }

at::Tensor DeviceCorpus::gather(const at::Tensor& positions) const {
  return restored(rows_.index_select(0, positions));
}

at::Tensor DeviceCorpus::gather_groups(const at::Tensor& starts) const {
  const at::Tensor windows = rows_.as_strided({count(), group_rows * dim()}, {dim(), 1});
  return restored(windows.index_select(0, starts)).view({-1, dim()});
}

at::Tensor DeviceCorpus::gather_bias(const at::Tensor& starts) const {
  return bias_.as_strided({count(), group_rows}, {1, 1}).index_select(0, starts);
}

}  // namespace ivf::detail::torch_backend

#pragma once
/// \file
/// A corpus on a device: rows, norms, ids and list offsets as tensors.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/torch/bounds.h"
#include "backends/torch/host_rows.h"
#include "backends/torch/runtime.h"

namespace ivf::detail::torch_backend {

/// Rows that follow each other are brought together, this many at a time, which moves more bytes a second than single
/// rows do. A first selection looks at the best score of each such group only.
inline constexpr std::int64_t group_rows = 8;

class DeviceCorpus final : public Resident {
 public:
  /// Throws Error(failed), before anything is allocated, when the device has no room.
  static std::shared_ptr<const DeviceCorpus> load(std::shared_ptr<const Runtime> runtime, const Corpus& corpus,
                                                  DeviceType dtype);
  /// The same rows for searches that must not find those that are in `hidden`, sets of the segments' rows as
  /// Corpus::hidden has them. Only what bias() gives is another.
  std::shared_ptr<const DeviceCorpus> without(std::span<const std::span<const std::uint64_t>> hidden,
                                              unsigned threads) const;

  const HostRows& host() const noexcept { return *host_; }
  const Runtime& runtime() const noexcept { return *runtime_; }
  std::int64_t count() const noexcept { return static_cast<std::int64_t>(host_->count()); }
  std::int64_t dim() const noexcept { return static_cast<std::int64_t>(host_->dim()); }
  std::int64_t nlist() const noexcept { return static_cast<std::int64_t>(host_->offsets().size()) - 1; }
  bool inner_product() const noexcept { return host_->inner_product(); }
  /// Rows are there in full precision.
  bool exact_rows() const noexcept { return dtype_ == DeviceType::float32; }
  Rounding rounding() const noexcept { return rounding_; }
  double largest_norm() const noexcept { return largest_norm_; }  ///< At least ‖x‖ of every row.

  /// Some rows have an infinite bias.
  bool filtered() const noexcept { return filtered_; }

  /// ‖x‖² (L2) or 0 (inner product) of rows [first, first + n): what a score adds to its product. +inf: a row that the
  /// search must not find.
  at::Tensor bias(std::int64_t first, std::int64_t n) const { return bias_.narrow(0, first, n); }
  const at::Tensor& ids() const noexcept { return ids_; }
  const at::Tensor& offsets() const noexcept { return offsets_; }  ///< nlist + 1
  const at::Tensor& sizes() const noexcept { return sizes_; }      ///< nlist: rows of each list.
  /// Rows [first, first + n) in float32: n x dim.
  at::Tensor slice(std::int64_t first, std::int64_t n) const;
  /// Rows at any positions (one dimension) in float32.
  at::Tensor gather(const at::Tensor& positions) const;
  /// The rows of groups that start at any positions (g), g * group_rows x d. Behind the last row lie zeros.
  at::Tensor gather_groups(const at::Tensor& starts) const;
  /// What bias() has for them: g x group_rows.
  at::Tensor gather_bias(const at::Tensor& starts) const;

 private:
  DeviceCorpus(std::shared_ptr<const Runtime> runtime, const Corpus& corpus, DeviceType dtype);
  DeviceCorpus(const DeviceCorpus&) = default;
  void fill();
  at::Tensor restored(const at::Tensor& rows) const;

  std::shared_ptr<const Runtime> runtime_;
  std::shared_ptr<const HostRows> host_;
  DeviceType dtype_;
  double scale_ = 1;  ///< Rows are kept times this power of two, so that 16 bits hold the largest.
  Rounding rounding_;
  double largest_norm_ = 0;
  std::shared_ptr<const Reservation> reserved_;
  bool filtered_ = false;
  at::Tensor rows_, bias_;  ///< With group_rows - 1 more, zeros, behind the last row.
  at::Tensor ids_, offsets_, sizes_;
};

}  // namespace ivf::detail::torch_backend

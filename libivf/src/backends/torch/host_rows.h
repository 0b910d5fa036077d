#pragma once
/// \file
/// The rows of a corpus in the order of their lists, without those that were removed, read from the host's memory: what
/// is brought to a device, and what is re-computed here in the end.

#include <cstdint>
#include <span>
#include <vector>

#include "backends/backend.h"

namespace ivf::detail::torch_backend {

/// Positions count the rows list by list, those of a list over the segments in order. The corpus's memory stays alive
/// as long as this does.
class HostRows {
 public:
  explicit HostRows(const Corpus& corpus);

  std::uint64_t count() const noexcept { return offsets_.back(); }
  std::size_t dim() const noexcept { return dim_; }
  bool inner_product() const noexcept { return inner_product_; }
  /// Of the lists' first rows: nlist + 1.
  const std::vector<std::uint64_t>& offsets() const noexcept { return offsets_; }

  /// Rows [first, first + n) in float32, n x dim.
  void get(std::uint64_t first, std::size_t n, float* rows) const;
  /// Their stored squared norms, and their ids.
  void get_norms(std::uint64_t first, std::size_t n, float* norms) const;
  void get_ids(std::uint64_t first, std::size_t n, idx_t* ids) const;
  idx_t id(std::uint64_t position) const;
  /// Which of them are in sets of the segments' rows, one a segment.
  void get_hidden(std::span<const std::span<const std::uint64_t>> hidden, std::uint64_t first, std::size_t n,
                  bool* in) const;
  /// Canonical values of a query against rows at any positions.
  void values(const float* query, const std::int64_t* positions, std::size_t n, float* values) const;

  /// The binary places that the rows' values take up, when they are few: every value, also of removed rows, is a
  /// multiple of 2^low smaller than 2^high in magnitude. Known only of rows without a lo plane (8-bit data); otherwise
  /// high == low.
  int low() const noexcept { return low_; }
  int high() const noexcept { return high_; }

 private:
  /// Consecutive rows that lie together in a segment.
  struct Run {
    std::uint64_t first;  ///< Position.
    std::uint64_t row;    ///< In the segment.
    std::uint32_t segment;
  };
  const Run& run_of(std::uint64_t position) const;
  std::uint64_t end_of(const Run& run) const noexcept;
  template <class Body>
  void for_pieces(std::uint64_t first, std::size_t n, Body body) const;
  void find_places();

  std::size_t dim_;
  bool inner_product_;
  std::vector<format::SegmentView> segments_;
  std::vector<std::uint64_t> before_;  ///< Rows in the segments before each one.
  std::vector<std::uint64_t> offsets_;
  std::vector<Run> runs_;
  int low_ = 0, high_ = 0;
};

}  // namespace ivf::detail::torch_backend

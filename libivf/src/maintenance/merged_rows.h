#pragma once
/// \file
/// Rows of several segments as the rows of one.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "index/resources.h"
#include "index/row_sets.h"
#include "ivf/format/container.hpp"
#include "maintenance/live_rows.h"
#include "maintenance/scratch.h"

namespace ivf::detail {

/// A segment among others, under ids that begin elsewhere.
struct RowPart {
  format::SegmentView view;
  idx_t id_offset = 0;
};

/// The rows of several segments, without the removed ones, list after list: those of a list in the order of the
/// segments, or sorted by their ids. Nothing is copied before it is asked for. The segments outlive this; const calls
/// are safe from several threads.
class MergedRows {
 public:
  MergedRows(std::vector<RowPart> parts, std::size_t dim, std::size_t nlist);

  std::uint64_t rows() const noexcept { return offsets_.back(); }
  std::size_t dim() const noexcept { return dim_; }
  /// List l has rows offsets()[l] to offsets()[l + 1] - 1.
  const std::vector<std::uint64_t>& offsets() const noexcept { return offsets_; }

  /// Sorts the rows of each list by id; those that share one stay in order. Takes 16 bytes a row, in memory when that
  /// is at most half the cap, else in a file beside `path`.
  void sort_by_id(const std::string& path, const Resources& resources, const Progress& progress);

  /// Values first .. first + out.size() - 1 of all rows.
  void ids(std::uint64_t first, std::span<idx_t> out) const;
  void norms(std::uint64_t first, std::span<float> out) const;
  void hi(std::uint64_t first, std::span<std::uint16_t> out) const;
  void lo(std::uint64_t first, std::span<std::uint16_t> out) const;
  /// Rows first .. first + count - 1 in float32.
  void values(std::uint64_t first, std::uint64_t count, float* out) const;

 private:
  struct Key {
    idx_t id;
    std::uint64_t position;  ///< Among all stored rows of the parts.
    bool operator<(const Key& other) const noexcept {
      return id != other.id ? id < other.id : position < other.position;
    }
  };

  /// Calls run(part, stored row, count, row) for stretches of stored rows that make up the rows [begin, end).
  template <class Run>
  void for_runs(std::uint64_t begin, std::uint64_t end, const Run& run) const;
  template <class Run>
  void for_unsorted_runs(std::uint64_t begin, std::uint64_t end, const Run& run) const;
  template <class T, class Values>
  void copy(std::uint64_t first, std::span<T> out, std::size_t width, const Values& values) const;

  std::vector<RowPart> parts_;
  std::vector<LiveRows> live_;
  std::vector<std::uint64_t> starts_;  ///< Of the parts, among all stored rows.
  std::size_t dim_;
  std::vector<std::uint64_t> offsets_;
  std::optional<ScratchArray<Key>> order_;  ///< Empty: not sorted.
};

}  // namespace ivf::detail

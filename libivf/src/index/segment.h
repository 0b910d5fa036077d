#pragma once
/// \file
/// Segments in memory: rows grouped by list, in two planes.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "buffer.h"
#include "index/centroids.h"

namespace ivf::detail {

/// A segment that owns its memory.
struct OwnedSegment {
  std::uint64_t rows = 0;
  std::size_t dim = 0;
  std::vector<std::uint64_t> offsets;
  Buffer<idx_t> ids;
  Buffer<std::uint16_t> hi;  ///< With room to read past the end, as scans do.
  Buffer<std::uint16_t> lo;  ///< Empty when every lo is zero.
  Buffer<float> norms;
  std::vector<float> radii;  ///< Empty for a flat index.
  std::vector<float> residuals;

  format::SegmentView view() const noexcept;
};

/// Bytes of memory that a segment takes.
std::uint64_t segment_bytes(const format::SegmentView& segment);

/// Names for new rows: the caller's ids, or first_id, first_id + 1, ...
struct IncomingIds {
  std::span<const idx_t> given;
  idx_t first_id = 0;
  bool numbered = true;

  idx_t get(std::size_t i) const noexcept { return numbered ? first_id + static_cast<idx_t>(i) : given[i]; }
  IncomingIds slice(std::size_t first, std::size_t count) const noexcept {
    return {numbered ? given : given.subspan(first, count), first_id + static_cast<idx_t>(first), numbered};
  }
};

/// Most rows that go into one built segment: positions are 32 bits wide while it is sorted.
constexpr std::size_t max_segment_rows = std::size_t{1} << 31;

/// A plane with room to read past the end, where it is zero.
Buffer<std::uint16_t> make_plane(std::size_t elements);

/// Copies ids, planes and norms of rows [first, first + count) to row `at` of a segment that has room for them, and a
/// lo plane when `from` has one.
void copy_rows(const format::SegmentView& from, std::uint64_t first, std::uint64_t count, OwnedSegment& segment,
               std::uint64_t at);

/// Assigns rows to lists (all to list 0 without centroids), sorts them by list, those of a list in order of arrival,
/// and stores them in planes with norms, radii and residual bounds.
std::shared_ptr<const OwnedSegment> build_segment(Backend& backend, const CentroidSet* centroids,
                                                  const IncomingRows& incoming, const IncomingIds& ids,
                                                  const Resources& resources, const Progress& progress);

/// One segment with the rows of two, without those that were removed: in each list first those of `a`, then those of
/// `b`.
std::shared_ptr<const OwnedSegment> merge_segments(const format::SegmentView& a, const format::SegmentView& b,
                                                   std::size_t dim, unsigned threads);

/// The distance of a row to its centroid in double arithmetic, accurate to a relative 2^-36 at least.
double centroid_distance(const float* row, const float* centroid, std::size_t dim) noexcept;

/// At least the distance of a row to the centroid of its list. `value`: their canonical squared distance; not looked at
/// when lists are compared by inner product.
double distance_bound(float value, bool inner_product, const float* row, const float* centroid,
                      std::size_t dim) noexcept;

/// The bounds of some rows of a list.
struct ListBound {
  double radius = 0;   ///< The largest distance_bound().
  float residual = 0;  ///< The largest residual_bound().

  /// Raises what a segment stores of the list, which other threads may be doing too. No radius: a flat index.
  void raise(float& stored_residual, float* stored_radius) const noexcept;
};

}  // namespace ivf::detail

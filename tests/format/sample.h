#pragma once
// Small indexes with known contents, the same on every machine: what tests write, and what golden files hold.

#include <cstdint>
#include <string>
#include <vector>

#include "ivf/format/container.hpp"

namespace ivf::test {

struct SampleSegment {
  std::vector<std::uint64_t> offsets;
  std::vector<idx_t> ids;
  std::vector<std::uint16_t> hi, lo;
  std::vector<float> norms, radii, residuals;
  std::vector<std::uint64_t> removed;

  std::uint64_t rows() const noexcept { return ids.size(); }
  format::SegmentView view() const noexcept;
};

struct Sample {
  format::Parameters parameters;
  std::vector<std::uint16_t> centroid_hi, centroid_lo;
  std::vector<float> centroid_norms;
  std::vector<SampleSegment> segments;
  std::uint64_t next_id = 0;  ///< 0: the number of rows.

  format::Planes centroids() const noexcept { return {centroid_hi, centroid_lo, centroid_norms}; }
  std::uint64_t rows() const noexcept;
};

struct SampleOptions {
  format::IndexKind kind = format::IndexKind::ivf;
  Metric metric = Metric::l2;
  std::uint32_t dim = 8;
  std::uint64_t nlist = 4;
  std::vector<std::uint64_t> segment_rows = {20, 7};
  bool lo = true;
  bool residuals = true;
  bool removed = false;  ///< Every third row of each segment is, and numbering goes on at 1000.
  std::string metadata = R"({"tool":"sample"})";
};

/// List 1 is empty when there are several; planes hold a repeating pattern, which compresses.
Sample make_sample(const SampleOptions& options = {});
SampleSegment make_segment(const format::Parameters& parameters, std::uint64_t rows, std::uint32_t seed, bool lo,
                           bool residuals);

/// Writes the sample, one commit for the new file and one for each segment.
void write_sample(const std::string& path, const Sample& sample, const format::Writer::Options& options = {});

/// Whether the snapshot holds exactly the sample's contents, or those of its first `segments` segments.
bool holds(const format::Snapshot& snapshot, const Sample& sample);
bool holds(const format::Snapshot& snapshot, const Sample& sample, std::size_t segments);

/// Whether any section is compressed.
bool any_compressed(const format::Snapshot& snapshot);

std::string read_bytes(const std::string& path);
void write_bytes(const std::string& path, const std::string& bytes);

}  // namespace ivf::test

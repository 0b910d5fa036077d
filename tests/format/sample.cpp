#include "sample.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "ivf/format/row_bits.hpp"
#include "ivf/philox.hpp"

namespace ivf::test {
namespace {

/// Values of a pattern with a little noise: some redundancy for zstd, no two sections alike.
std::vector<std::uint16_t> make_plane(std::uint64_t count, std::uint32_t seed, std::uint16_t base) {
  std::vector<std::uint16_t> plane(count);
  const Philox random(seed, base);
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto noise = i % 7 == 0 ? random.u64(i) % 16 : 0;
    plane[i] = static_cast<std::uint16_t>(base + i % 13 + noise);
  }
  return plane;
}

std::vector<float> make_floats(std::uint64_t count, float base) {
  std::vector<float> values(count);
  for (std::uint64_t i = 0; i < count; ++i) values[i] = base + static_cast<float>(i % 251) / 16;
  return values;
}

template <typename T>
bool equal(std::span<const T> found, const std::vector<T>& expected) {
  return std::equal(found.begin(), found.end(), expected.begin(), expected.end());
}

bool equal(const format::Planes& found, const std::vector<std::uint16_t>& hi, const std::vector<std::uint16_t>& lo,
           const std::vector<float>& norms) {
  return equal(found.hi, hi) && equal(found.lo, lo) && equal(found.norms, norms);
}

}  // namespace

format::SegmentView SampleSegment::view() const noexcept {
  format::SegmentView view;
  view.rows = rows();
  view.offsets = offsets;
  view.ids = ids;
  view.planes = {hi, lo, norms};
  view.radii = radii;
  view.residuals = residuals;
  view.removed = removed;
  return view;
}

std::uint64_t Sample::rows() const noexcept {
  std::uint64_t sum = 0;
  for (const SampleSegment& segment : segments) sum += segment.rows();
  return sum;
}

SampleSegment make_segment(const format::Parameters& parameters, std::uint64_t rows, std::uint32_t seed, bool lo,
                           bool residuals) {
  SampleSegment segment;
  const std::uint64_t nlist = parameters.nlist;
  for (std::uint64_t list = 0; list <= nlist; ++list) segment.offsets.push_back(list * rows / nlist);
  if (nlist > 2) segment.offsets[2] = segment.offsets[1];
  for (std::uint64_t row = 0; row < rows; ++row) segment.ids.push_back(static_cast<idx_t>(seed * 1000 + row * 3));
  segment.hi = make_plane(rows * parameters.dim, seed, 0x3f80);
  if (lo) segment.lo = make_plane(rows * parameters.dim, seed, 0x0101);
  segment.norms = make_floats(rows, static_cast<float>(seed));
  if (parameters.kind == format::IndexKind::ivf) segment.radii = make_floats(nlist, 0);
  if (residuals) segment.residuals = make_floats(nlist, 0);
  return segment;
}

Sample make_sample(const SampleOptions& options) {
  Sample sample;
  const bool ivf = options.kind == format::IndexKind::ivf;
  sample.parameters.kind = options.kind;
  sample.parameters.metric = options.metric;
  sample.parameters.dim = options.dim;
  sample.parameters.nlist = ivf ? options.nlist : 1;
  sample.parameters.seed = 1234;
  sample.parameters.metadata = options.metadata;
  if (ivf) {
    sample.centroid_hi = make_plane(options.nlist * options.dim, 99, 0x4000);
    if (options.lo) sample.centroid_lo = make_plane(options.nlist * options.dim, 99, 0x0202);
    sample.centroid_norms = make_floats(options.nlist, 2);
  }
  std::uint32_t seed = 1;
  for (const std::uint64_t rows : options.segment_rows) {
    sample.segments.push_back(make_segment(sample.parameters, rows, seed++, options.lo, options.residuals));
    if (!options.removed) continue;
    auto& removed = sample.segments.back().removed;
    removed.resize(format::row_words(rows));
    for (std::uint64_t row = 0; row < rows; row += 3) format::insert_row(removed, row);
  }
  if (options.removed) sample.next_id = 1000;
  return sample;
}

void write_sample(const std::string& path, const Sample& sample, const format::Writer::Options& options) {
  const auto writer = format::Writer::create(path, sample.parameters, sample.centroids(), options, true);
  writer->commit();
  for (const SampleSegment& segment : sample.segments) {
    writer->write_segment(segment.view());
    writer->commit();
  }
  if (sample.next_id != 0) {
    writer->set_next_id(sample.next_id);
    writer->commit();
  }
}

bool holds(const format::Snapshot& snapshot, const Sample& sample) {
  return holds(snapshot, sample, sample.segments.size());
}

bool holds(const format::Snapshot& snapshot, const Sample& sample, std::size_t segments) {
  const format::Parameters& found = snapshot.parameters();
  const format::Parameters& expected = sample.parameters;
  std::uint64_t rows = 0;
  for (std::size_t i = 0; i < segments; ++i) rows += sample.segments[i].rows();
  if (found.kind != expected.kind || found.metric != expected.metric || found.dim != expected.dim ||
      found.nlist != expected.nlist || found.seed != expected.seed || found.metadata != expected.metadata ||
      snapshot.rows() != rows || snapshot.next_id() != (sample.next_id == 0 ? rows : sample.next_id) ||
      snapshot.segments().size() != segments ||
      !equal(snapshot.centroids(), sample.centroid_hi, sample.centroid_lo, sample.centroid_norms)) {
    return false;
  }
  for (std::size_t i = 0; i < segments; ++i) {
    const format::SegmentView& view = snapshot.segments()[i];
    const SampleSegment& segment = sample.segments[i];
    if (view.rows != segment.rows() || !equal(view.offsets, segment.offsets) || !equal(view.ids, segment.ids) ||
        !equal(view.planes, segment.hi, segment.lo, segment.norms) || !equal(view.radii, segment.radii) ||
        !equal(view.residuals, segment.residuals) || !equal(view.removed, segment.removed)) {
      return false;
    }
  }
  return true;
}

bool any_compressed(const format::Snapshot& snapshot) {
  return std::any_of(snapshot.sections().begin(), snapshot.sections().end(),
                     [](const format::SectionInfo& info) { return info.compressed; });
}

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

}  // namespace ivf::test

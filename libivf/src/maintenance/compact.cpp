// Compacting: the rows that are left, as one segment of a new file.

#include <algorithm>
#include <limits>

#include "ivf/maintenance.hpp"
#include "maintenance/segment_writer.h"
#include "maintenance/source.h"

namespace ivf {
namespace {

constexpr std::uint64_t rows_at_once = 65536;

/// Behind the rows and the largest id.
std::uint64_t sorted_next_id(const detail::MergedRows& rows) {
  constexpr auto most = std::numeric_limits<idx_t>::max();
  idx_t next = static_cast<idx_t>(rows.rows());
  std::vector<idx_t> ids;
  for (std::uint64_t first = 0; first < rows.rows(); first += rows_at_once) {
    ids.resize(std::min(rows_at_once, rows.rows() - first));
    rows.ids(first, ids);
    const idx_t largest = *std::max_element(ids.begin(), ids.end());
    next = std::max(next, largest == most ? most : largest + 1);
  }
  return static_cast<std::uint64_t>(next);
}

}  // namespace

RewriteReport compact_index(const std::string& path, const std::string& out, const CompactOptions& options) {
  const auto resources = detail::Resources::of(options);
  auto lock = detail::lock_output(out, options);
  const detail::SourceIndex source(path, out, resources.threads);
  const format::Parameters& parameters = source.parameters();
  const format::Snapshot& snapshot = *source.snapshot;
  RewriteReport report;
  report.segments = snapshot.segments().size();
  report.dropped = snapshot.removed();
  report.bytes_before = snapshot.file_bytes();

  detail::MergedRows rows(source.parts(), parameters.dim, parameters.nlist);
  const auto centroids = source.centroids();
  const auto writer = detail::open_output(out, std::move(lock), parameters, snapshot.centroids(),
                                          source.writer_options(options, resources));
  if (options.sort) rows.sort_by_id(out, resources, options.progress);
  detail::write_rows(*writer, rows, centroids.get(), path, resources, options.progress);
  writer->set_next_id(options.sort ? sorted_next_id(rows) : snapshot.next_id());
  writer->commit();
  report.bytes_after = writer->committed_bytes();
  report.rows = rows.rows();
  return report;
}

namespace {

/// Bytes of the file that nothing uses any more: sets of removed rows that others took the place of, old directories.
std::uint64_t unused_bytes(const format::Snapshot& snapshot) {
  // What every file has, and what a section has besides its bytes at most: padding, and a line of the directory.
  constexpr std::uint64_t head_bytes = 12288, section_bytes = 192;
  std::uint64_t used = head_bytes;
  for (const format::SectionInfo& section : snapshot.sections()) used += section.stored_bytes + section_bytes;
  return snapshot.committed_bytes() - std::min(used, snapshot.committed_bytes());
}

}  // namespace

bool compaction_due(const std::string& path, const CompactPolicy& policy) {
  const auto snapshot = format::Snapshot::open(path);
  const auto& segments = snapshot->segments();
  const auto share = [&](std::uint64_t rows) {
    return static_cast<double>(rows) / static_cast<double>(snapshot->rows());
  };
  if (segments.empty()) return false;
  if (segments.size() > policy.at_most || share(snapshot->removed()) > policy.share) return true;
  // Of small files that is nothing to speak of.
  constexpr std::uint64_t least_unused = std::uint64_t{1} << 20;
  const std::uint64_t unused = unused_bytes(*snapshot);
  if (unused > least_unused &&
      static_cast<double>(unused) > policy.share * static_cast<double>(snapshot->committed_bytes())) {
    return true;
  }
  std::uint64_t largest = 0;
  for (const format::SegmentView& segment : segments) largest = std::max(largest, segment.rows);
  return segments.size() > policy.segments && share(snapshot->rows() - largest) >= policy.share;
}

}  // namespace ivf

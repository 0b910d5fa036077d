// Splitting: the rows of an index as several indexes.

#include <algorithm>

#include "ivf/error.hpp"
#include "ivf/maintenance.hpp"
#include "maintenance/segment_writer.h"
#include "maintenance/source.h"

namespace ivf {
namespace {

/// Sets of rows that a shard does not get, one a segment: those that are removed, and those that other shards get.
class OtherRows {
 public:
  OtherRows(const format::Snapshot& snapshot, const std::string& path, const detail::Resources& resources)
      : snapshot_(snapshot), words_(count_words(snapshot), resources.max_memory / 4, path) {}

  /// The rows of shard `shard` of `shards`; valid until the next call.
  std::vector<detail::RowPart> select(SplitBy by, std::size_t shard, std::size_t shards) {
    const auto& segments = snapshot_.segments();
    std::vector<std::span<std::uint64_t>> sets;
    std::vector<detail::RowPart> parts;
    std::size_t at = 0;
    for (const format::SegmentView& view : segments) {
      const std::size_t words = format::row_words(view.rows);
      sets.push_back(words_.span().subspan(at, words));
      std::fill(sets.back().begin(), sets.back().end(), ~std::uint64_t{0});
      if (view.rows % 64 != 0) sets.back().back() = ~std::uint64_t{0} >> (64 - view.rows % 64);
      at += words;
      parts.push_back({view});
      parts.back().view.removed = sets.back();
    }
    std::uint64_t position = 0;  // Among the rows that are there, list after list.
    for (std::size_t l = 0; l < snapshot_.parameters().nlist; ++l) {
      for (std::size_t s = 0; s < segments.size(); ++s) {
        detail::for_rows_outside(segments[s].removed, segments[s].offsets[l], segments[s].offsets[l + 1],
                                 [&](std::uint64_t first, std::uint64_t last) {
                                   for (; first < last; ++first, ++position) {
                                     if ((by == SplitBy::list ? l : position) % shards != shard) continue;
                                     sets[s][first / 64] &= ~(std::uint64_t{1} << (first % 64));
                                   }
                                 });
      }
    }
    return parts;
  }

 private:
  static std::uint64_t count_words(const format::Snapshot& snapshot) {
    std::uint64_t words = 0;
    for (const format::SegmentView& view : snapshot.segments()) words += format::row_words(view.rows);
    return words;
  }

  const format::Snapshot& snapshot_;
  detail::ScratchArray<std::uint64_t> words_;
};

}  // namespace

std::vector<RewriteReport> split_index(const std::string& path, std::span<const std::string> outs,
                                       const SplitOptions& options) {
  if (outs.empty()) throw Error(ErrorKind::misuse, "expected at least one shard to write, found none");
  const auto resources = detail::Resources::of(options);
  std::vector<std::unique_ptr<format::WriteLock>> locks;
  for (const std::string& out : outs) locks.push_back(detail::lock_output(out, options));
  const detail::SourceIndex source(path, outs.front(), resources.threads);
  const format::Parameters& parameters = source.parameters();
  const format::Snapshot& snapshot = *source.snapshot;
  const auto centroids = source.centroids();
  OtherRows others(snapshot, outs.front(), resources);

  std::vector<std::unique_ptr<format::Writer>> writers;
  std::vector<RewriteReport> reports(outs.size());
  for (std::size_t i = 0; i < outs.size(); ++i) {
    writers.push_back(detail::open_output(outs[i], std::move(locks[i]), parameters, snapshot.centroids(),
                                          source.writer_options(options, resources)));
    const detail::MergedRows rows(others.select(options.by, i, outs.size()), parameters.dim, parameters.nlist);
    detail::write_rows(*writers[i], rows, centroids.get(), path, resources, options.progress);
    writers[i]->set_next_id(snapshot.next_id());
    reports[i].rows = rows.rows();
    reports[i].segments = snapshot.segments().size();
    reports[i].dropped = snapshot.removed();
    reports[i].bytes_before = snapshot.file_bytes();
  }
  for (std::size_t i = 0; i < outs.size(); ++i) {
    writers[i]->commit();
    reports[i].bytes_after = writers[i]->committed_bytes();
  }
  return reports;
}

}  // namespace ivf

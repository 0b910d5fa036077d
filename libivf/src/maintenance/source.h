#pragma once
/// \file
/// An index file that is read to be written anew.

#include <memory>
#include <string>

#include "index/centroids.h"
#include "ivf/format/container.hpp"
#include "ivf/maintenance.hpp"
#include "maintenance/merged_rows.h"

namespace ivf::detail {

struct SourceIndex {
  /// Opens a file and checks every byte of it: damage must not get a new, matching checksum. What is compressed is
  /// decoded into a file beside `out`.
  SourceIndex(const std::string& path, const std::string& out, unsigned threads);

  const format::Parameters& parameters() const { return snapshot->parameters(); }
  bool flat() const { return parameters().kind == format::IndexKind::flat; }
  /// Its rows, with ids raised by `id_offset`.
  std::vector<RowPart> parts(idx_t id_offset = 0) const;
  /// Null for a flat index.
  std::unique_ptr<const CentroidSet> centroids() const;
  /// Of a file that is written from it.
  format::Writer::Options writer_options(const RewriteOptions& options, const Resources& resources) const;

  std::string path;
  std::shared_ptr<const format::Snapshot> snapshot;
};

/// Locks `out` before anything is read, when it is to be replaced: nothing that is committed to it afterwards can be
/// lost. Null when it must not be there.
std::unique_ptr<format::WriteLock> lock_output(const std::string& out, const RewriteOptions& options);

/// Starts the file that `lock` is for, or a new one.
std::unique_ptr<format::Writer> open_output(const std::string& out, std::unique_ptr<format::WriteLock> lock,
                                            const format::Parameters& parameters, const format::Planes& centroids,
                                            const format::Writer::Options& options);

}  // namespace ivf::detail

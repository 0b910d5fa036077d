#pragma once
/// \file
/// Writes rows that are stored elsewhere as one segment of a new file.

#include "index/centroids.h"
#include "index/resources.h"
#include "ivf/format/container.hpp"
#include "maintenance/merged_rows.h"

namespace ivf::detail {

/// Threads that a writer of segments may use: each takes some MiB.
unsigned writer_threads(const Resources& resources) noexcept;

/// Writes the rows, with the bounds of their lists computed anew as additions compute them. `centroids` are those whose
/// lists the rows are in; null for a flat index. Takes a few MiB for each of the writer's threads. Throws
/// Error(corrupt) for values that are not finite; `name` says where they are from.
void write_rows(format::Writer& writer, const MergedRows& rows, const CentroidSet* centroids, const std::string& name,
                const Resources& resources, const Progress& progress);

}  // namespace ivf::detail

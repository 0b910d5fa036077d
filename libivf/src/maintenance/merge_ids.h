#pragma once
/// \file
/// Ids of several indexes that become one.

#include <span>
#include <string>
#include <vector>

#include "maintenance/source.h"

namespace ivf::detail {

/// What the ids of each index are raised by, and then the next id of all of them. Throws Error(misuse) for ids that
/// cannot be.
std::vector<idx_t> shifted_ids(std::span<const SourceIndex> sources);

/// Throws Error(misuse) when two indexes hold a row of the same id. Takes 16 bytes a row when their ranges of ids
/// overlap, in memory up to half the cap, else in a file beside `path`.
void require_unique_ids(std::span<const SourceIndex> sources, const std::string& path, const Resources& resources,
                        const Progress& progress);

}  // namespace ivf::detail

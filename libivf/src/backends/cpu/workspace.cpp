#include "backends/cpu/workspace.h"

#include <algorithm>
#include <cstring>

namespace ivf::detail::cpu {
namespace {

// A slice of staged rows stays in the second-level cache beside the packed queries.
constexpr std::size_t staged_bytes_max = std::size_t{256} << 10;

}  // namespace

Workspace::Workspace(const Kernels& kernels, std::size_t d)
    : scan(kernels.scan),
      dim(d),
      packed_stride(kernels.scan->packed_bytes(d)),
      slice_rows(
          std::clamp<std::size_t>(staged_bytes_max / kernels.scan->staged_bytes(d) / scan_block_rows * scan_block_rows,
                                  scan_block_rows, scan_rows_max)),
      packed(std::max(tiles_per_task * packed_stride, kernels.few == nullptr ? 0 : kernels.few->packed_bytes(d))),
      scratch(scan_scratch_bytes),
      staged(slice_rows * kernels.scan->staged_bytes(d)),
      dots(scan_rows_max * kernels.scan->tile + 16),
      tags(scan_rows_max * kernels.scan->tile + 16),
      lane_candidates(lane_stride * kernels.scan->tile),
      maxima(scan_rows_max / maxima_rows * kernels.scan->tile),
      few_dots(kernels.few == nullptr ? 0 : few_queries * scan_rows_max) {
  // Rows past the end of a list's last block are multiplied too, and their products ignored.
  std::memset(staged.data(), 0, staged.size());
}

std::unique_ptr<Workspace> WorkspacePool::take(const Kernels& kernels, std::size_t d) {
  {
    const std::lock_guard lock(mutex_);
    while (!idle_.empty()) {
      std::unique_ptr<Workspace> workspace = std::move(idle_.back());
      idle_.pop_back();
      if (workspace->scan != kernels.scan || workspace->dim != d) continue;
      workspace->stats = {};
      workspace->abandoning = {};
      return workspace;
    }
  }
  return std::make_unique<Workspace>(kernels, d);
}

void WorkspacePool::put_back(std::unique_ptr<Workspace> workspace) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(workspace));
}

}  // namespace ivf::detail::cpu

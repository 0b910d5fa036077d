#pragma once
/// \file
/// Independent pieces of work spread over threads.

#include <cstddef>
#include <functional>

namespace ivf::format {

/// Runs task(i) for every i in [0, count) on up to `threads` threads, the caller's among them, handing tasks out in
/// increasing order. After a task threw, no further task starts, and the first exception is rethrown here.
void parallel_tasks(unsigned threads, std::size_t count, const std::function<void(std::size_t)>& task);

}  // namespace ivf::format

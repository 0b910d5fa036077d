#pragma once
/// \file
/// A small pool of threads for data-parallel loops. Workers spin briefly before they sleep, so that a search of a
/// hundred microseconds can use them.

#include <cstddef>
#include <functional>

namespace ivf::detail {

/// Runs body(thread, nthreads) once on each of `threads` threads, the caller's own being thread 0, and waits for all.
/// The first exception that a body throws is rethrown here. Nested calls run on the caller alone (nthreads = 1).
void run_threads(unsigned threads, const std::function<void(unsigned thread, unsigned nthreads)>& body);

/// Splits [0, n) into chunks of at most `grain` that are handed out dynamically: body(begin, end, thread).
void parallel_for(unsigned threads, std::size_t n, std::size_t grain,
                  const std::function<void(std::size_t begin, std::size_t end, unsigned thread)>& body);

}  // namespace ivf::detail

#pragma once
/// \file
/// What is asked of the machine around a measurement: how fast it is at this moment, and how much memory is in use.

#include <cstdint>
#include <string>

namespace ivf::bench {

/// Milliseconds that a fixed piece of arithmetic takes, done by each of `threads` threads at once (the slowest counts).
/// It depends on the machine and on what else runs there, never on ivf: when it changes from one record to another, the
/// machine was not the same.
double probe_ms(unsigned threads);

/// Bytes a second that `threads` threads can read from memory, each its own buffer, larger than the caches.
double read_bandwidth(unsigned threads);

/// Largest resident memory of the process since construction, where the kernel lets it be reset; else since the start.
class PeakMemory {
 public:
  PeakMemory();
  std::uint64_t bytes() const;  ///< 0: not known.
};

/// Resident memory of the process now; 0: not known.
std::uint64_t resident_bytes();

/// Memory of the machine, or less where a cgroup says so; 0: not known.
std::uint64_t total_memory_bytes();

/// Memory that is free or can be freed at once; 0: not known.
std::uint64_t available_memory_bytes();

std::string host_os();        ///< "Linux 6.1.0-18-amd64"
std::string host_platform();  ///< "Linux-6.1.0-18-amd64-x86_64-with-glibc2.36"
std::string host_cpu();       ///< The model, as in /proc/cpuinfo.
std::string utc_timestamp();  ///< "2024-05-01T12:00:00Z"

}  // namespace ivf::bench

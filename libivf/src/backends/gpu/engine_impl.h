#pragma once
/// \file
/// What the calls of an engine share.

#include <cstdint>

#include "backends/gpu/scan.h"

namespace ivf::detail::gpu {

constexpr std::uint64_t default_workspace = std::uint64_t{2} << 30;
constexpr std::size_t most_matrix_queries = 4096;

struct Engine::Impl {
  int device = 0;
  Allocator& allocator;
  Machine machine;
  DeviceMemory tickets;
  bool tickets_cleared = false;
  Staging staging;
  Staging landing;  ///< For small results. (Another thread may bring rows through the other one meanwhile.)

  Impl(int which, Allocator& memory) : device(which), allocator(memory) {
    const DeviceInfo info = device_info(device);
    int limit = 0;
    check_status(shared_memory_limit(limit, device), "shared memory");
    machine.multiprocessors = static_cast<unsigned>(info.multiprocessors);
    machine.wide = has_wide_tiles(info.major);
    // Kernels keep a little in fixed places besides.
    machine.shared_limit = static_cast<std::size_t>(limit) - 1024;
  }

  Scan describe(const DeviceCorpus& corpus, std::size_t nprobe, std::size_t k, std::uint64_t max_codes) const {
    const DeviceCorpus::Impl& impl = corpus.impl();
    Scan scan;
    scan.corpus = &impl;
    scan.view = nprobe == 0 ? impl.whole : impl.lists;
    scan.whole_rows = nprobe == 0 ? impl.prefix_of(max_codes).places : 0;
    scan.nprobe = nprobe;
    scan.k = k;
    if (max_codes != 0) scan.max_codes = static_cast<std::uint32_t>(std::min<std::uint64_t>(max_codes, no_limit));
    return scan;
  }

  std::uint32_t* cleared_tickets(StreamHandle stream) {
    if (tickets.data() == nullptr)
      tickets = DeviceMemory(allocator, 2 * most_matrix_queries * sizeof(std::uint32_t), stream);
    if (!tickets_cleared) {
      check_status(IVF_GPU(MemsetAsync)(tickets.data(), 0, 2 * most_matrix_queries * sizeof(std::uint32_t),
                                        static_cast<Stream>(stream)),
                   "memset");
      tickets_cleared = true;
    }
    return reinterpret_cast<std::uint32_t*>(tickets.data());
  }

  /// Puts one scan on the stream. `next`, when not null, is the scan of the lists that this one finds.
  void run(Scan& scan, const float* queries, std::size_t stride, const Scan* next, StreamHandle stream_handle,
           PhaseClock& clock, bool coarse);
  /// One round of it: all upper bounds go to `scores`, or what passes the limits to the candidates.
  void launch_round(const Scan& scan, unsigned round, float* scores, Stream stream) const;
};

/// Queries [first, first + count) in device memory: where they are, or copied to where `data` says.
void bring_queries(const Rows& queries, std::size_t d, std::size_t first, std::size_t count, const float*& data,
                   std::size_t& stride, Stream stream);
/// The same of their lists.
void bring_probes(const ProbeLists& probes, std::size_t first, std::size_t count, const std::int32_t*& lists,
                  Stream stream);

/// Throws Error(misuse) when a device cannot find as many results, or lists, of a query.
void check_k(std::size_t k, const char* what);

}  // namespace ivf::detail::gpu

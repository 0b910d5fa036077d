// The host's side: memory of a request, batches, and the order of the kernels.

#include <cstring>
#include <string>

#include "backends/gpu/engine_impl.h"
#include "ivf/error.hpp"

namespace ivf::detail::gpu {

void check_k(std::size_t k, const char* what) {
  if (k >= 1 && k <= Engine::max_k) return;
  throw Error(ErrorKind::misuse, std::string("expected ") + what + " of 1 to " + std::to_string(Engine::max_k) +
                                     " on a device, found " + std::to_string(k));
}

void bring_queries(const Rows& queries, std::size_t d, std::size_t first, std::size_t count, const float*& data,
                   std::size_t& stride, Stream stream) {
  const std::size_t given = queries.stride == 0 ? d : queries.stride;
  const float* from = queries.data + first * given;
  if (queries.on_device) {
    data = from;
    stride = given;
    return;
  }
  check_status(IVF_GPU(Memcpy2DAsync)(const_cast<float*>(data), d * sizeof(float), from, given * sizeof(float),
                                      d * sizeof(float), count, IVF_GPU(MemcpyHostToDevice), stream),
               "copy of queries");
  stride = d;
}

void bring_probes(const ProbeLists& probes, std::size_t first, std::size_t count, const std::int32_t*& lists,
                  Stream stream) {
  const std::int32_t* from = probes.lists + first * probes.nprobe;
  if (probes.on_device) {
    lists = from;
    return;
  }
  check_status(IVF_GPU(MemcpyAsync)(const_cast<std::int32_t*>(lists), from,
                                    count * probes.nprobe * sizeof(std::int32_t), IVF_GPU(MemcpyHostToDevice), stream),
               "copy of lists");
}

void Engine::Impl::launch_round(const Scan& scan, unsigned round, float* scores, Stream stream) const {
  const Rounds& rounds = scan.schedule.rounds;
  TileArgs t{};
  t.corpus = scan.view;
  t.queries = scan.memory.rounded;
  t.info = scan.memory.info;
  t.nq = static_cast<std::uint32_t>(scan.nq);
  t.first = round == 0 ? 0 : rounds.ends[round - 1];
  t.last = std::min(rounds.ends[round], scan.whole_rows);
  if (scan.nprobe != 0) {
    const PlanArgs p = scan.plan();
    t.items = p.items + static_cast<std::size_t>(round) * p.item_capacity;
    t.item_count = p.item_counts + round;
    t.pairs = p.pairs + static_cast<std::size_t>(round) * scan.nq * scan.nprobe;
  }
  t.slice_rows = rounds.slice_rows[round];
  t.query_tile = rounds.query_tile[round];
  t.ticket = scan.memory.tickets + round;
  t.scores = scores;
  t.score_stride = scan.schedule.score_rows;
  t.candidates = scan.memory.candidates;
  t.multiprocessors = machine.multiprocessors;
  t.shared_limit = machine.shared_limit;
  if (scan.nprobe == 0 && t.first >= t.last) return;
  rounds.wide[round] ? launch_wide_tiles(t, stream) : launch_tiles(t, stream);
}

void Engine::Impl::run(Scan& scan, const float* queries, std::size_t stride, const Scan* next,
                       StreamHandle stream_handle, PhaseClock& clock, bool coarse) {
  const Stream stream = static_cast<Stream>(stream_handle);
  const Schedule& s = scan.schedule;
  const bool many = !s.matrix && scan.nq > machine.multiprocessors * 4ull;
  FinishArgs finish = scan.finish(queries, stride, many);
  if (next != nullptr) {
    finish.plan = true;
    finish.next = next->plan();
    // Only max_codes depends on the order of the lists. One query after the other is done sooner without asking what
    // is certain.
    finish.as_set = many && next->max_codes == no_limit;
  }
  if (s.matrix) {
    if (scan.nprobe != 0 && !scan.planned) launch_plan(scan.plan(), stream);
    launch_matrix(
        {finish, scan.memory.scores, cleared_tickets(stream_handle) + (coarse ? most_matrix_queries : 0), s.blocks},
        stream);
    clock.mark(coarse ? "coarse" : "scan+finish");
    return;
  }
  if (scan.nprobe != 0) {
    if (!scan.planned) launch_plan(scan.plan(), stream);
    launch_group(scan.plan(), stream);
    clock.mark("group");
  }
  static constexpr const char* scan_names[2][3] = {{"scan 1", "scan 2", "scan 3.."},
                                                   {"coarse scan 1", "coarse scan 2", "coarse scan 3.."}};
  for (unsigned round = 0; round < s.rounds.count; ++round) {
    launch_round(scan, round, round == 0 ? scan.memory.scores : nullptr, stream);
    clock.mark(scan_names[coarse][std::min(round, 2u)]);
    if (round + 1 == s.rounds.count) break;
    finish.scores = round == 0 ? scan.memory.scores : nullptr;
    launch_limits(finish, many, stream);
    clock.mark(coarse ? "coarse limits" : "limits");
  }
  finish.scores = s.rounds.count == 1 ? scan.memory.scores : nullptr;
  if (s.rounds.count == 1 && !many)
    finish.cached_scores = cacheable_scores(finish, machine.multiprocessors, machine.shared_limit);
  launch_finish(finish, many, stream);
  clock.mark(coarse ? "coarse finish" : "finish");
}

Engine::Engine(int device, Allocator& allocator) : impl_(std::make_unique<Impl>(device, allocator)) {}
Engine::~Engine() = default;

std::uint64_t Engine::bytes_needed(const Corpus& corpus, const Part& part) {
  const KeptRows kept(corpus);
  return corpus_bytes(corpus, Layout(kept, kept.ranges(part)));
}

std::unique_ptr<DeviceCorpus> Engine::load(const Corpus& corpus, StreamHandle stream, const Part& part,
                                           unsigned threads) {
  const DeviceGuard guard(impl_->device);
  const KeptRows kept(corpus);
  const Layout layout(kept, kept.ranges(part));
  const std::size_t bytes = corpus_bytes(corpus, layout), piece_bytes = loading_bytes(corpus);
  require_memory(bytes + piece_bytes, layout.rows);
  auto memory = std::make_shared<DeviceMemory>(impl_->allocator, bytes, stream);
  const DeviceMemory pieces(impl_->allocator, piece_bytes, stream);
  const Loader loader{impl_->staging, pieces.data(), threads == 0 ? available_threads() : threads,
                      static_cast<Stream>(stream)};
  auto loaded = loader.bring(kept, layout, std::move(memory), {});
  check_status(IVF_GPU(StreamSynchronize)(loader.stream), "upload");
  return loaded;
}

std::unique_ptr<DeviceCorpus> Engine::hide(const DeviceCorpus& corpus, HiddenRows hidden, StreamHandle stream) {
  const DeviceGuard guard(impl_->device);
  auto filtered = hide_rows(corpus, hidden, impl_->allocator, impl_->staging, static_cast<Stream>(stream));
  check_status(IVF_GPU(StreamSynchronize)(static_cast<Stream>(stream)), "filter");
  return filtered;
}

namespace {

/// Up to this many bytes, results come back in one copy through page-locked memory.
constexpr std::size_t small_results = std::size_t{64} << 10;

/// Queries and results of a request in device memory, batch by batch.
struct Transfer {
  const float* queries = nullptr;
  std::size_t stride = 0;
  const std::int32_t* probes = nullptr;
  float* values = nullptr;
  std::int64_t* ids = nullptr;
  std::int32_t* lists = nullptr;
};

}  // namespace

void Engine::topk(const DeviceCorpus& corpus, const Rows& queries, const ProbeLists& probes,
                  const SearchOptions& options, const Results& results, StreamHandle stream) {
  run(nullptr, corpus, queries, probes, options, results, stream);
}

void Engine::search(const DeviceCorpus& centroids, const DeviceCorpus& lists, const Rows& queries, std::size_t nprobe,
                    const SearchOptions& options, const Results& results, StreamHandle stream) {
  const std::size_t nlist = lists.impl().lists.nlist;
  if (nprobe >= nlist && options.max_codes == 0) {
    run(nullptr, lists, queries, {}, options, results, stream);
    return;
  }
  check_k(std::min(nprobe, nlist), "nprobe");
  run(&centroids, lists, queries, {nullptr, std::min(nprobe, nlist), true}, options, results, stream);
}

void Engine::run(const DeviceCorpus* centroids, const DeviceCorpus& corpus, const Rows& queries,
                 const ProbeLists& probes, const SearchOptions& options, const Results& results,
                 StreamHandle stream_handle) {
  check_k(options.k, "k");
  const DeviceGuard guard(impl_->device);
  const Stream stream = static_cast<Stream>(stream_handle);
  const std::size_t nq = queries.rows, k = options.k;
  const std::size_t nprobe = centroids != nullptr || probes.lists != nullptr ? probes.nprobe : 0;
  const std::size_t d = corpus.impl().lists.d;
  if (nq == 0) return;
  PhaseClock clock(options.report != nullptr && options.timed, stream);

  Scan coarse, scan = impl_->describe(corpus, nprobe, k, options.max_codes);
  if (centroids != nullptr) coarse = impl_->describe(*centroids, 0, nprobe, 0);
  Transfer at;
  Counters* counters = nullptr;
  std::int32_t* found_lists = nullptr;
  std::size_t zero_bytes = 0;
  const auto make_schedule = [&](std::size_t count) {
    scan.nq = coarse.nq = count;
    scan.schedule = schedule(scan.work(), options.mode, options.tuning, impl_->machine);
    if (centroids == nullptr) return;
    // A coarse step is small: what was asked for goes for the lists.
    const SearchMode mode = scan.schedule.matrix ? SearchMode::matrix : SearchMode::csr;
    coarse.schedule = schedule(coarse.work(), mode, {}, impl_->machine);
  };
  const auto layout = [&](Arena& arena, std::size_t count) {
    scan.nq = coarse.nq = count;
    // The queries are rounded once for both steps; what has to be zero lies together, at the beginning.
    if (centroids != nullptr) coarse.take_zeros(arena);
    scan.take_zeros(arena);
    zero_bytes = arena.used();
    const bool matrix = scan.schedule.matrix;
    auto* rounded = arena.take<std::uint16_t>(matrix ? 0 : count * scan.view.steps * step_dims);
    auto* info = arena.take<QueryInfo>(matrix ? 0 : count);
    scan.memory.rounded = coarse.memory.rounded = rounded;
    scan.memory.info = coarse.memory.info = info;
    if (centroids != nullptr) {
      coarse.take_memory(arena);
      found_lists = arena.take<std::int32_t>(count * nprobe);
    }
    scan.take_memory(arena);
    if (!queries.on_device) at.queries = arena.take<float>(count * d);
    if (probes.lists != nullptr && !probes.on_device) at.probes = arena.take<std::int32_t>(count * nprobe);
    // What goes back to the host lies together, at the end.
    counters = arena.take<Counters>(1);
    if (results.on_device) return;
    at.values = arena.take<float>(results.values == nullptr ? 0 : count * k);
    at.ids = arena.take<std::int64_t>(results.ids == nullptr ? 0 : count * k);
    at.lists = arena.take<std::int32_t>(results.lists == nullptr ? 0 : count * k);
  };
  const std::uint64_t workspace = options.tuning.workspace == 0 ? default_workspace : options.tuning.workspace;
  std::size_t batch = nq, bytes = 0;
  for (;;) {
    // The last batch may be smaller, and keeps the schedule of the others, for which there is memory.
    Arena arena;
    make_schedule(batch);
    layout(arena, batch);
    bytes = arena.used();
    const bool too_many = scan.schedule.matrix && batch > most_matrix_queries;
    if ((bytes <= workspace && !too_many) || batch == 1) break;
    batch = (batch + 1) / 2;
  }
  const DeviceMemory memory(impl_->allocator, bytes, stream_handle);
  Report sum;
  sum.mode = scan.schedule.matrix ? SearchMode::matrix : SearchMode::csr;
  for (std::size_t first = 0; first < nq; first += batch) {
    const std::size_t count = std::min(batch, nq - first);
    Arena arena(memory.data());
    layout(arena, count);
    const auto copy = [&](void* to, const void* from, std::size_t size, auto kind) {
      check_status(IVF_GPU(MemcpyAsync)(to, from, size, kind, stream), "copy");
    };
    bring_queries(queries, d, first, count, at.queries, at.stride, stream);
    if (probes.lists != nullptr) bring_probes(probes, first, count, at.probes, stream);
    scan.probes = centroids != nullptr ? found_lists : at.probes;
    scan.planned = centroids != nullptr;
    const auto place = [&](auto* device, auto* own) { return results.on_device ? device : own; };
    const std::size_t offset = results.on_device ? first * k : 0;
    scan.values = results.values == nullptr ? nullptr : place(results.values, at.values) + offset;
    scan.ids = results.ids == nullptr ? nullptr : place(results.ids, at.ids) + offset;
    scan.lists = results.lists == nullptr ? nullptr : place(results.lists, at.lists) + offset;
    if (options.report != nullptr) {
      check_status(IVF_GPU(MemsetAsync)(counters, 0, sizeof(Counters), stream), "memset");
      scan.counters = counters;
    }
    if (!scan.schedule.matrix) {
      launch_prepare(
          {at.queries, at.stride, static_cast<std::uint32_t>(count), scan.view.d, scan.view.steps, scan.memory.rounded,
           scan.memory.info, reinterpret_cast<std::uint32_t*>(memory.data()), zero_bytes / sizeof(std::uint32_t)},
          stream);
      clock.mark("prepare");
    }
    if (centroids != nullptr) {
      coarse.lists = found_lists;
      impl_->run(coarse, at.queries, at.stride, &scan, stream_handle, clock, true);
    }
    impl_->run(scan, at.queries, at.stride, nullptr, stream_handle, clock, false);
    if (results.on_device && options.report == nullptr) continue;
    const auto give_all = [&](const auto& give) {
      if (results.values != nullptr) give(results.values + first * k, at.values, count * k);
      if (results.ids != nullptr) give(results.ids + first * k, at.ids, count * k);
      if (results.lists != nullptr) give(results.lists + first * k, at.lists, count * k);
    };
    Counters counted{};
    const char* const on_device = reinterpret_cast<const char*>(counters);
    const auto size =
        results.on_device ? sizeof(Counters) : static_cast<std::size_t>(memory.data() + arena.used() - on_device);
    const bool small = size <= small_results;
    char* const here = small ? impl_->landing.next(small_results) : nullptr;
    if (small) {
      copy(here, on_device, size, IVF_GPU(MemcpyDeviceToHost));
    } else {
      copy(&counted, counters, sizeof(Counters), IVF_GPU(MemcpyDeviceToHost));
      if (!results.on_device) {
        give_all([&](auto* to, const auto* from, std::size_t n) {
          copy(to, from, n * sizeof(*to), IVF_GPU(MemcpyDeviceToHost));
        });
      }
    }
    check_status(IVF_GPU(StreamSynchronize)(stream), "search");
    if (small) {
      std::memcpy(&counted, here, sizeof(Counters));
      if (!results.on_device) {
        give_all([&](auto* to, const auto* from, std::size_t n) {
          std::memcpy(to, here + (reinterpret_cast<const char*>(from) - on_device), n * sizeof(*to));
        });
      }
    }
    if (options.report != nullptr) {
      if (nprobe == 0) counted.scanned = count * corpus.impl().prefix_of(options.max_codes).rows;
      sum.rows_scanned += counted.scanned;
      const std::uint64_t rows_read = scan.schedule.matrix ? counted.scanned
                                      : nprobe == 0        ? scan.rows_read()
                                                           : counted.read;
      sum.bytes_read += rows_read * scan.view.steps * step_dims * sizeof(std::uint16_t);
      sum.rows_refined += counted.refined;
      sum.candidates += counted.candidates;
      sum.queries_overflowed += counted.overflowed;
    }
  }
  if (options.report == nullptr) return;
  clock.report(sum);
  *options.report = sum;
}

void Engine::add_to_sums(const Rows& rows, std::size_t dim, const std::int32_t* lists, double magic,
                         std::uint64_t* sums, std::uint64_t* sizes, StreamHandle stream) {
  const DeviceGuard guard(impl_->device);
  static_assert(sizeof(unsigned long long) == sizeof(std::uint64_t));
  launch_sums({rows.data, rows.stride == 0 ? dim : rows.stride, rows.rows, dim, lists, magic,
               reinterpret_cast<unsigned long long*>(sums), reinterpret_cast<unsigned long long*>(sizes)},
              static_cast<Stream>(stream));
}

}  // namespace ivf::detail::gpu

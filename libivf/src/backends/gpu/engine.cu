// The host's side: memory of a request, batches, and the order of the kernels.

#include "backends/gpu/engine.h"

#include <algorithm>
#include <limits>
#include <string>

#include "backends/gpu/corpus.h"
#include "backends/gpu/kernels.h"
#include "backends/gpu/schedule.h"
#include "ivf/error.hpp"

namespace ivf::detail::gpu {
namespace {

constexpr std::uint32_t no_limit = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t default_workspace = std::uint64_t{2} << 30;
constexpr std::size_t most_matrix_queries = 4096;

/// Makes a device current for the length of a scope.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check_status(IVF_GPU(GetDevice)(&before_), "current device");
    if (before_ != device) check_status(IVF_GPU(SetDevice)(device), "choice of the device");
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;
  ~DeviceGuard() { static_cast<void>(IVF_GPU(SetDevice)(before_)); }

 private:
  int before_ = 0;
};

/// Events between phases, when a report is wanted.
class PhaseClock {
 public:
  PhaseClock(bool wanted, Stream stream) : wanted_(wanted), stream_(stream) { mark(""); }
  PhaseClock(const PhaseClock&) = delete;
  PhaseClock& operator=(const PhaseClock&) = delete;
  ~PhaseClock() {
    for (auto& [name, event] : marks_) static_cast<void>(IVF_GPU(EventDestroy)(event));
  }
  /// Ends the phase called `name`.
  void mark(const char* name) {
    if (!wanted_) return;
    Event event{};
    check_status(IVF_GPU(EventCreate)(&event), "event");
    marks_.emplace_back(name, event);
    check_status(IVF_GPU(EventRecord)(event, stream_), "event");
  }
  /// Phases of the same name are added up. The device must have finished.
  void report(Report& report) const {
    for (std::size_t i = 1; i < marks_.size(); ++i) {
      float ms = 0;
      check_status(IVF_GPU(EventElapsedTime)(&ms, marks_[i - 1].second, marks_[i].second), "event");
      const std::string name = marks_[i].first;
      const auto same = std::find_if(report.phases.begin(), report.phases.end(),
                                     [&](const Report::Phase& phase) { return name == phase.name; });
      if (same == report.phases.end()) {
        report.phases.push_back({marks_[i].first, ms});
      } else {
        same->ms += ms;
      }
    }
  }

 private:
  bool wanted_;
  Stream stream_;
  std::vector<std::pair<const char*, Event>> marks_;
};

/// Memory of one canonical top-k over a corpus (a coarse step, or a scan).
struct ScanMemory {
  std::uint16_t* rounded = nullptr;
  QueryInfo* info = nullptr;
  float* scores = nullptr;
  Candidates candidates;
  std::uint32_t* rest = nullptr;
  std::uint32_t* cums = nullptr;
  std::uint32_t* places = nullptr;
  std::uint32_t* pair_begins = nullptr;
  Pair* pairs = nullptr;
  Item* items = nullptr;
  std::uint32_t* item_counts = nullptr;
  // Zero at the beginning:
  std::uint32_t* histogram = nullptr;
  std::uint32_t* tickets = nullptr;
};

/// One canonical top-k: what is scanned and where it goes.
struct Scan {
  const DeviceCorpus::Impl* corpus = nullptr;
  CorpusView view;
  std::uint32_t whole_rows = 0;
  std::size_t nq = 0, k = 0, nprobe = 0;
  std::uint32_t max_codes = no_limit;
  Schedule schedule;
  ScanMemory memory;
  const std::int32_t* probes = nullptr;
  float* values = nullptr;
  std::int64_t* ids = nullptr;
  std::int32_t* lists = nullptr;
  bool planned = false;          ///< The coarse step counts rows and pairs of this scan.
  Counters* counters = nullptr;  ///< Null: nothing is counted.

  std::size_t pairs() const noexcept { return schedule.rounds.count * nq * nprobe; }

  Work work() const noexcept {
    Work w;
    w.nq = nq;
    w.k = k;
    w.nprobe = nprobe;
    w.nlist = view.nlist;
    w.steps = view.steps;
    w.most_rows = nprobe == 0 ? whole_rows : std::min<std::uint64_t>(corpus->rows_of(nprobe), max_codes);
    w.usual_rows =
        nprobe == 0 ? whole_rows : std::min<std::uint64_t>(w.most_rows, corpus->rows * nprobe / view.nlist + 1);
    w.largest_list = nprobe == 0 ? whole_rows : corpus->rows_of(1);
    return w;
  }

  std::size_t histogram_size() const noexcept {
    return nprobe == 0 ? 0 : schedule.rounds.count * static_cast<std::size_t>(view.nlist);
  }

  /// What has to be zero.
  void take_zeros(Arena& arena) {
    memory = {};
    if (schedule.matrix) return;
    memory.tickets = arena.take<std::uint32_t>(max_rounds + 1);
    memory.histogram = arena.take<std::uint32_t>(histogram_size());
  }

  void take_memory(Arena& arena) {
    ScanMemory& m = memory;
    const Schedule& s = schedule;
    m.scores = arena.take<float>(nq * s.score_rows);
    if (nprobe != 0) m.cums = arena.take<std::uint32_t>(nq * (nprobe + 1));
    if (s.matrix) return;
    m.rest = arena.take<std::uint32_t>(nq);
    if (s.candidate_capacity != 0) {
      m.candidates.capacity = s.candidate_capacity;
      m.candidates.bounds = arena.take<float2>(nq * s.candidate_capacity);
      m.candidates.rows = arena.take<std::uint32_t>(nq * s.candidate_capacity);
      m.candidates.counts = arena.take<std::uint32_t>(nq);
      m.candidates.limits = arena.take<float>(nq);
    }
    if (nprobe == 0) return;
    m.places = arena.take<std::uint32_t>(pairs());
    m.pair_begins = arena.take<std::uint32_t>(histogram_size());
    m.pairs = arena.take<Pair>(pairs());
    m.items = arena.take<Item>(static_cast<std::size_t>(s.rounds.count) * s.item_capacity);
    m.item_counts = arena.take<std::uint32_t>(max_rounds);
  }

  PlanArgs plan() const noexcept {
    PlanArgs p{};
    p.segments = {probes, memory.cums, static_cast<std::uint32_t>(nprobe), 0};
    p.cums = memory.cums;
    p.sizes = view.sizes;
    p.nlist = view.nlist;
    p.nq = static_cast<std::uint32_t>(nq);
    p.max_codes = max_codes;
    p.grouped = !schedule.matrix;
    p.rounds = schedule.rounds;
    p.histogram = memory.histogram;
    p.places = memory.places;
    p.pair_begins = memory.pair_begins;
    p.pairs = memory.pairs;
    p.items = memory.items;
    p.item_capacity = schedule.item_capacity;
    p.item_counts = memory.item_counts;
    p.counters = counters;
    return p;
  }

  FinishArgs finish(const float* queries, std::size_t stride, bool many) const noexcept {
    FinishArgs f{};
    f.corpus = view;
    f.segments = {probes, memory.cums, static_cast<std::uint32_t>(nprobe), whole_rows};
    f.queries = queries;
    f.query_stride = stride;
    f.info = memory.info;
    f.nq = static_cast<std::uint32_t>(nq);
    f.scores = memory.scores;
    f.score_stride = schedule.score_rows;
    f.score_rows = schedule.score_rows;
    f.candidates = memory.candidates;
    f.k = static_cast<unsigned>(k);
    // The matrix kernel keeps a number for each list where survivors will be.
    f.capacity = finish_capacity(static_cast<unsigned>(schedule.matrix ? std::max(k, nprobe / 2 + 1) : k), many);
    f.rest = memory.rest;
    f.rest_count = memory.tickets == nullptr ? nullptr : memory.tickets + max_rounds;
    f.values = values;
    f.ids = ids;
    f.lists = lists;
    f.counters = counters;
    return f;
  }
};

}  // namespace

struct Engine::Impl {
  int device = 0;
  Allocator& allocator;
  Machine machine;
  DeviceMemory tickets;
  bool tickets_cleared = false;

  Impl(int which, Allocator& memory) : device(which), allocator(memory) {
    const DeviceInfo info = device_info(device);
    int limit = 0;
    check_status(shared_memory_limit(limit, device), "shared memory");
    machine.multiprocessors = static_cast<unsigned>(info.multiprocessors);
    // Kernels keep a little in fixed places besides.
    machine.shared_limit = static_cast<std::size_t>(limit) - 1024;
  }

  Scan describe(const DeviceCorpus& corpus, std::size_t nprobe, std::size_t k, std::uint64_t max_codes) const {
    const DeviceCorpus::Impl& impl = corpus.impl();
    Scan scan;
    scan.corpus = &impl;
    scan.view = nprobe == 0 ? impl.whole : impl.lists;
    scan.whole_rows = nprobe == 0 ? impl.places_of(max_codes) : 0;
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
           PhaseClock& clock, bool coarse) {
    const Stream stream = static_cast<Stream>(stream_handle);
    const Schedule& s = scan.schedule;
    const bool many = !s.matrix && scan.nq > machine.multiprocessors * 4ull;
    FinishArgs finish = scan.finish(queries, stride, many);
    if (next != nullptr) {
      finish.plan = true;
      finish.next = next->plan();
      // Only max_codes depends on the order of the lists.
      finish.as_set = next->max_codes == no_limit;
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
    TileArgs t{};
    t.corpus = scan.view;
    t.queries = scan.memory.rounded;
    t.info = scan.memory.info;
    t.nq = static_cast<std::uint32_t>(scan.nq);
    t.score_stride = s.score_rows;
    t.candidates = scan.memory.candidates;
    t.multiprocessors = machine.multiprocessors;
    t.shared_limit = machine.shared_limit;
    static constexpr const char* scan_names[2][3] = {{"scan 1", "scan 2", "scan 3.."},
                                                     {"coarse scan 1", "coarse scan 2", "coarse scan 3.."}};
    for (unsigned round = 0; round < s.rounds.count; ++round) {
      t.first = round == 0 ? 0 : s.rounds.ends[round - 1];
      t.last = std::min(s.rounds.ends[round], scan.whole_rows);
      if (scan.nprobe != 0) {
        const PlanArgs p = scan.plan();
        t.items = p.items + static_cast<std::size_t>(round) * p.item_capacity;
        t.item_count = p.item_counts + round;
        t.pairs = p.pairs + static_cast<std::size_t>(round) * scan.nq * scan.nprobe;
      }
      t.slice_rows = s.rounds.slice_rows[round];
      t.query_tile = s.rounds.query_tile[round];
      t.ticket = scan.memory.tickets + round;
      t.scores = round == 0 ? scan.memory.scores : nullptr;
      if (scan.nprobe != 0 || t.first < t.last) launch_tiles(t, stream);
      clock.mark(scan_names[coarse][std::min(round, 2u)]);
      if (round + 1 == s.rounds.count) break;
      finish.scores = round == 0 ? scan.memory.scores : nullptr;
      launch_limits(finish, many, stream);
      clock.mark(coarse ? "coarse limits" : "limits");
    }
    finish.scores = s.rounds.count == 1 ? scan.memory.scores : nullptr;
    launch_finish(finish, many, stream);
    clock.mark(coarse ? "coarse finish" : "finish");
  }
};

Engine::Engine(int device, Allocator& allocator) : impl_(std::make_unique<Impl>(device, allocator)) {}
Engine::~Engine() = default;

std::unique_ptr<DeviceCorpus> Engine::load(const Corpus& corpus, StreamHandle stream) {
  const DeviceGuard guard(impl_->device);
  return load_corpus(corpus, impl_->allocator, stream);
}

namespace {

/// Queries and results of a request in device memory, batch by batch.
struct Transfer {
  const float* queries = nullptr;
  std::size_t stride = 0;
  const std::int32_t* probes = nullptr;
  float* values = nullptr;
  std::int64_t* ids = nullptr;
  std::int32_t* lists = nullptr;
};

void check_k(std::size_t k, const char* what) {
  if (k >= 1 && k <= Engine::max_k) return;
  throw Error(ErrorKind::misuse, std::string("expected ") + what + " of 1 to " + std::to_string(Engine::max_k) +
                                     " on a device, found " + std::to_string(k));
}

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
  const std::size_t d = corpus.impl().lists.d, stride = queries.stride == 0 ? d : queries.stride;
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
    counters = arena.take<Counters>(1);
    if (!queries.on_device) at.queries = arena.take<float>(count * d);
    if (probes.lists != nullptr && !probes.on_device) at.probes = arena.take<std::int32_t>(count * nprobe);
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
    if (queries.on_device) {
      at.queries = queries.data + first * stride;
      at.stride = stride;
    } else {
      check_status(
          IVF_GPU(Memcpy2DAsync)(const_cast<float*>(at.queries), d * sizeof(float), queries.data + first * stride,
                                 stride * sizeof(float), d * sizeof(float), count, IVF_GPU(MemcpyHostToDevice), stream),
          "copy of queries");
      at.stride = d;
    }
    if (probes.lists != nullptr) {
      if (probes.on_device) {
        at.probes = probes.lists + first * nprobe;
      } else {
        copy(const_cast<std::int32_t*>(at.probes), probes.lists + first * nprobe, count * nprobe * sizeof(std::int32_t),
             IVF_GPU(MemcpyHostToDevice));
      }
    }
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
    if (!results.on_device) {
      const auto back = [&](auto* to, const auto* from) {
        if (to != nullptr) copy(to + first * k, from, count * k * sizeof(*to), IVF_GPU(MemcpyDeviceToHost));
      };
      back(results.values, at.values);
      back(results.ids, at.ids);
      back(results.lists, at.lists);
    }
    if (options.report != nullptr) {
      Counters counted{};
      copy(&counted, counters, sizeof(Counters), IVF_GPU(MemcpyDeviceToHost));
      check_status(IVF_GPU(StreamSynchronize)(stream), "search");
      sum.rows_scanned +=
          nprobe == 0 ? count * std::min<std::uint64_t>(corpus.impl().rows, scan.max_codes) : counted.scanned;
      sum.rows_refined += counted.refined;
      sum.candidates += counted.candidates;
      sum.queries_overflowed += counted.overflowed;
    }
  }
  if (!results.on_device || options.report != nullptr) check_status(IVF_GPU(StreamSynchronize)(stream), "search");
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

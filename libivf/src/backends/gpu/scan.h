#pragma once
/// \file
/// One canonical scan of a corpus, as the host sees it: its memory, and the arguments of its kernels.

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "backends/gpu/corpus.h"
#include "backends/gpu/kernels.h"
#include "backends/gpu/merge.h"
#include "backends/gpu/schedule.h"

namespace ivf::detail::gpu {

constexpr std::uint32_t no_limit = std::numeric_limits<std::uint32_t>::max();

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
  /// The device must have finished.
  void report(Report& report) const {
    for (std::size_t i = 1; i < marks_.size(); ++i) {
      float ms = 0;
      check_status(IVF_GPU(EventElapsedTime)(&ms, marks_[i - 1].second, marks_[i].second), "event");
      add_phase(report, {marks_[i].first, ms});
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

  /// Rows that all tiles of queries read together, where every query looks at every row.
  std::uint64_t rows_read() const noexcept {
    const Rounds& r = schedule.rounds;
    std::uint64_t rows = 0, begin = 0;
    for (unsigned i = 0; i < r.count; ++i) {
      const std::uint64_t end = std::min(r.ends[i], whole_rows);
      rows += (end - std::min(begin, end)) * ((nq + r.query_tile[i] - 1) / r.query_tile[i]);
      begin = end;
    }
    return rows;
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
    // Where nothing is cut, the rows of a part are all that matter.
    p.whole = max_codes == no_limit ? nullptr : corpus->device_whole_sizes;
    p.skipped = corpus->device_skipped;
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

}  // namespace ivf::detail::gpu

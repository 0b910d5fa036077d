// Range search: the radius is every query's limit from the beginning. Rows that it does not exclude are gathered, for a
// query that has more than there is room for in a second pass, and re-computed canonically; the host sorts the hits.

#include <cmath>
#include <numeric>

#include "backends/gpu/engine_impl.h"
#include "backends/gpu/merge.h"
#include "backends/gpu/range_kernels.h"
#include "parallel.h"

namespace ivf::detail::gpu {
namespace {

using Hits = std::vector<std::pair<float, idx_t>>;

// A candidate, and its result.
constexpr std::size_t candidate_bytes = sizeof(float2) + sizeof(std::uint32_t),
                      result_bytes = sizeof(float) + sizeof(idx_t);

// There is always room for so many of a query.
constexpr std::size_t few_candidates = 32;

/// Queries of a batch, and their lists, in device memory.
struct Batch {
  const float* queries = nullptr;
  std::size_t stride = 0;
  const std::int32_t* probes = nullptr;
  std::vector<std::uint32_t> numbers;  ///< In the request.
};

/// A query of a batch with more candidates than there was room for.
struct Overflow {
  std::uint32_t position, candidates;
};

/// Whether no value at all is within the radius.
bool excludes_all(float radius, bool inner_product) {
  return inner_product ? !(radius < std::numeric_limits<float>::infinity()) : !(radius > 0);
}

}  // namespace

class Engine::RangeSearch {
 public:
  RangeSearch(Impl& engine, const DeviceCorpus& corpus, std::size_t nprobe, const RangeOptions& options,
              StreamHandle stream, RangeHits& result)
      : engine_(engine),
        scan_(engine.describe(corpus, nprobe, 1, options.max_codes)),
        options_(options),
        room_((options.tuning.workspace == 0 ? default_workspace : options.tuning.workspace) / 2),
        handle_(stream),
        stream_(static_cast<Stream>(stream)),
        clock_(options.report != nullptr, stream_),
        result_(result) {
    // Scores are those of smaller values; the limit lies above every canonical value that is within the radius.
    const float score = scan_.view.inner_product ? -options.radius : options.radius;
    limit_ = std::nextafter(score, std::numeric_limits<float>::infinity());
  }

  void run(const Rows& queries, const ProbeLists& probes) {
    const std::size_t d = scan_.view.d, nq = queries.rows;
    std::size_t count = nq;
    while (count > 1 && bytes_of(count) > room_) count = (count + 1) / 2;
    Batch batch;
    Arena counter;
    const auto layout = [&](Arena& arena) {
      if (!queries.on_device) batch.queries = arena.take<float>(count * d);
      if (scan_.nprobe != 0 && !probes.on_device) batch.probes = arena.take<std::int32_t>(count * scan_.nprobe);
    };
    layout(counter);
    const DeviceMemory memory(engine_.allocator, counter.used(), handle_);
    for (std::size_t first = 0; first < nq; first += count) {
      const std::size_t here = std::min(count, nq - first);
      Arena arena(memory.data());
      layout(arena);
      bring_queries(queries, d, first, here, batch.queries, batch.stride, stream_);
      if (scan_.nprobe != 0) bring_probes(probes, first, here, batch.probes, stream_);
      batch.numbers.resize(here);
      std::iota(batch.numbers.begin(), batch.numbers.end(), static_cast<std::uint32_t>(first));
      search_again(batch, search(batch, capacity_for(here), 0, no_limit, true));
      if (scan_.nprobe == 0) report_.rows_scanned += here * scan_.corpus->prefix_of(options_.max_codes).rows;
    }
    const bool ip = scan_.view.inner_product;
    parallel_for(options_.threads, nq, 4, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t q = begin; q < end; ++q) sort_hits(result_.hits[q], ip);
    });
    if (options_.report == nullptr) return;
    check_status(IVF_GPU(StreamSynchronize)(stream_), "range search");
    clock_.report(report_);
    *options_.report = report_;
  }

 private:
  /// Memory of a pass with room for few candidates.
  std::size_t bytes_of(std::size_t count) {
    Arena arena;
    schedule_for(count, 0, no_limit, 0);
    layout(arena);
    return arena.used() + count * (scan_.view.d * sizeof(float) + few_candidates * (candidate_bytes + result_bytes));
  }

  /// Candidates of a query that there is room for at first.
  std::uint32_t capacity_for(std::size_t count) const {
    const std::uint64_t most = std::max<std::uint64_t>(scan_.work().most_rows, 1);
    std::uint64_t rows = options_.tuning.range_rows;
    if (rows == 0)
      rows = std::clamp<std::uint64_t>(room_ / count / (candidate_bytes + result_bytes), few_candidates, 1 << 14);
    return static_cast<std::uint32_t>(std::min(rows, most));
  }

  /// One round over rows [first, last) of `count` queries.
  void schedule_for(std::size_t count, std::uint32_t first, std::uint32_t last, std::uint32_t capacity) {
    scan_.nq = count;
    Tuning tuning = options_.tuning;
    tuning.first_rows = no_limit;
    scan_.schedule = schedule(scan_.work(), SearchMode::csr, tuning, engine_.machine);
    scan_.schedule.score_rows = 0;
    scan_.schedule.candidate_capacity = capacity;
    Rounds& rounds = scan_.schedule.rounds;
    rounds.ends[0] = last;
    if (first == 0) return;
    // What lies before is a round that nobody runs.
    rounds.count = 2;
    rounds.ends[0] = first;
    rounds.ends[1] = last;
    rounds.query_tile[1] = rounds.query_tile[0];
    rounds.slice_rows[1] = rounds.slice_rows[0];
    rounds.wide[1] = rounds.wide[0];
  }

  void layout(Arena& arena) {
    scan_.take_zeros(arena);
    zero_bytes_ = arena.used();
    scan_.memory.rounded = arena.take<std::uint16_t>(scan_.nq * scan_.view.steps * step_dims);
    scan_.memory.info = arena.take<QueryInfo>(scan_.nq);
    scan_.take_memory(arena);
    counters_ = arena.take<Counters>(1);
  }

  template <class T>
  void copy(T* to, const T* from, std::size_t count, decltype(IVF_GPU(MemcpyHostToDevice)) kind) {
    if (count == 0) return;
    check_status(IVF_GPU(MemcpyAsync)(to, from, count * sizeof(T), kind, stream_), "range search");
  }

  /// Gathers candidates of rows [first, last) of each query, counted as rounds count them, and adds their hits. Returns
  /// the queries that need more room, for which nothing was added.
  std::vector<Overflow> search(const Batch& batch, std::uint32_t capacity, std::uint32_t first, std::uint32_t last,
                               bool counted) {
    const auto nq = static_cast<std::uint32_t>(batch.numbers.size());
    schedule_for(nq, first, last, capacity);
    Arena counter;
    layout(counter);
    const DeviceMemory memory(engine_.allocator, counter.used(), handle_);
    Arena arena(memory.data());
    layout(arena);
    scan_.probes = batch.probes;
    scan_.counters = counted && options_.report != nullptr ? counters_ : nullptr;
    const Candidates& candidates = scan_.memory.candidates;
    check_status(IVF_GPU(MemsetAsync)(counters_, 0, sizeof(Counters), stream_), "memset");
    check_status(IVF_GPU(MemsetAsync)(candidates.counts, 0, nq * sizeof(std::uint32_t), stream_), "memset");
    const std::vector<float> limits(nq, limit_);
    copy(candidates.limits, limits.data(), nq, IVF_GPU(MemcpyHostToDevice));
    launch_prepare(
        {batch.queries, batch.stride, nq, scan_.view.d, scan_.view.steps, scan_.memory.rounded, scan_.memory.info,
         reinterpret_cast<std::uint32_t*>(memory.data()), zero_bytes_ / sizeof(std::uint32_t)},
        stream_);
    clock_.mark("prepare");
    if (scan_.nprobe != 0) {
      launch_plan(scan_.plan(), stream_);
      launch_group(scan_.plan(), stream_);
      clock_.mark("group");
    }
    engine_.launch_round(scan_, scan_.schedule.rounds.count - 1, nullptr, stream_);
    clock_.mark("scan");
    std::vector<std::uint32_t> counts(nq);
    Counters scanned{};
    copy(counts.data(), candidates.counts, nq, IVF_GPU(MemcpyDeviceToHost));
    copy(&scanned, counters_, 1, IVF_GPU(MemcpyDeviceToHost));
    check_status(IVF_GPU(StreamSynchronize)(stream_), "range search");
    report_.rows_scanned += scanned.scanned;
    report_.bytes_read +=
        (scan_.nprobe == 0 ? scan_.rows_read() : scanned.read) * scan_.view.steps * step_dims * sizeof(std::uint16_t);
    std::vector<Overflow> overflows;
    for (std::uint32_t i = 0; i < nq; ++i) {
      if (counts[i] <= capacity) continue;
      overflows.push_back({i, counts[i]});
      counts[i] = 0;
    }
    add_hits(batch, counts);
    return overflows;
  }

  /// Re-computes the first `counts` candidates of each query.
  void add_hits(const Batch& batch, const std::vector<std::uint32_t>& counts) {
    std::vector<RangeItem> items;
    std::size_t total = 0;
    for (std::uint32_t q = 0; q < counts.size(); ++q) {
      for (std::uint32_t first = 0; first < counts[q]; first += range_item_rows) {
        items.push_back({q, first, std::min(range_item_rows, counts[q] - first), total});
        total += items.back().count;
      }
    }
    report_.candidates += total;
    report_.rows_refined += total;
    if (total == 0) return;
    RangeArgs args{};
    RangeItem* device_items = nullptr;
    const auto take = [&](Arena& arena) {
      device_items = arena.take<RangeItem>(items.size());
      args.values = arena.take<float>(total);
      args.ids = arena.take<std::int64_t>(total);
    };
    Arena counter;
    take(counter);
    const DeviceMemory memory(engine_.allocator, counter.used(), handle_);
    Arena arena(memory.data());
    take(arena);
    copy(device_items, items.data(), items.size(), IVF_GPU(MemcpyHostToDevice));
    args.corpus = scan_.view;
    args.queries = batch.queries;
    args.query_stride = batch.stride;
    args.candidates = scan_.memory.candidates;
    args.items = device_items;
    args.item_count = static_cast<std::uint32_t>(items.size());
    args.radius = options_.radius;
    launch_range(args, stream_);
    clock_.mark("refine");
    std::vector<float> values(total);
    std::vector<std::int64_t> ids(total);
    copy(values.data(), args.values, total, IVF_GPU(MemcpyDeviceToHost));
    copy(ids.data(), args.ids, total, IVF_GPU(MemcpyDeviceToHost));
    check_status(IVF_GPU(StreamSynchronize)(stream_), "range search");
    clock_.mark("results");
    for (const RangeItem& item : items) {
      Hits& hits = result_.hits[batch.numbers[item.query]];
      for (std::size_t i = item.to; i < item.to + item.count; ++i) {
        if (ids[i] != -1) hits.emplace_back(values[i], ids[i]);
      }
    }
  }

  /// The queries of a batch that overflowed, with the room that they need: as many as fit together, or one, its rows
  /// piece by piece.
  void search_again(const Batch& batch, std::vector<Overflow> overflows) {
    report_.queries_overflowed += overflows.size();
    std::sort(overflows.begin(), overflows.end(),
              [](const Overflow& a, const Overflow& b) { return a.candidates < b.candidates; });
    const std::uint64_t most =
        std::clamp<std::uint64_t>(room_ / (candidate_bytes + result_bytes) / 64 * 64, 64, no_limit / 2 / 64 * 64);
    for (std::size_t begin = 0, end; begin < overflows.size(); begin = end) {
      end = begin + 1;
      while (end < overflows.size() && (end + 1 - begin) * overflows[end].candidates <= most) ++end;
      std::vector<std::uint32_t> positions;
      Batch some;
      for (std::size_t i = begin; i < end; ++i) {
        positions.push_back(overflows[i].position);
        some.numbers.push_back(batch.numbers[overflows[i].position]);
      }
      const DeviceMemory memory = gather(batch, positions, some);
      const std::uint32_t candidates = overflows[end - 1].candidates;
      if (candidates <= most) {
        // Fewer queries may be multiplied in another order, which moves what the bounds exclude by a row or so.
        search_again(some, search(some, candidates, 0, no_limit, false));
        continue;
      }
      // No more candidates than rows.
      const auto piece = static_cast<std::uint32_t>(most);
      const std::uint64_t rows = scan_.work().most_rows;
      for (std::uint64_t first = 0; first < rows; first += piece) {
        const auto from = static_cast<std::uint32_t>(first);
        search(some, piece, from, static_cast<std::uint32_t>(std::min<std::uint64_t>(first + piece, rows)), false);
      }
    }
  }

  /// Some queries of a batch, and their lists, side by side in the memory that is returned.
  DeviceMemory gather(const Batch& batch, const std::vector<std::uint32_t>& positions, Batch& some) {
    const std::size_t n = positions.size(), d = scan_.view.d, nprobe = scan_.nprobe;
    float* queries = nullptr;
    std::int32_t* probes = nullptr;
    std::uint32_t* device_positions = nullptr;
    const auto take = [&](Arena& arena) {
      queries = arena.take<float>(n * d);
      probes = arena.take<std::int32_t>(n * nprobe);
      device_positions = arena.take<std::uint32_t>(n);
    };
    Arena counter;
    take(counter);
    DeviceMemory memory(engine_.allocator, counter.used(), handle_);
    Arena arena(memory.data());
    take(arena);
    copy(device_positions, positions.data(), n, IVF_GPU(MemcpyHostToDevice));
    const auto words = [](auto* p) { return reinterpret_cast<const std::uint32_t*>(p); };
    launch_gather({words(batch.queries), batch.stride, d, device_positions, static_cast<std::uint32_t>(n),
                   reinterpret_cast<std::uint32_t*>(queries)},
                  stream_);
    if (nprobe != 0) {
      launch_gather({words(batch.probes), nprobe, nprobe, device_positions, static_cast<std::uint32_t>(n),
                     reinterpret_cast<std::uint32_t*>(probes)},
                    stream_);
    }
    some.queries = queries;
    some.stride = d;
    some.probes = probes;
    return memory;
  }

  Impl& engine_;
  Scan scan_;
  const RangeOptions& options_;
  std::uint64_t room_;
  StreamHandle handle_;
  Stream stream_;
  PhaseClock clock_;
  RangeHits& result_;
  float limit_ = 0;
  std::size_t zero_bytes_ = 0;
  Counters* counters_ = nullptr;
  Report report_;
};

RangeHits Engine::range(const DeviceCorpus& corpus, const Rows& queries, const ProbeLists& probes,
                        const RangeOptions& options, StreamHandle stream) {
  const DeviceGuard guard(impl_->device);
  RangeHits result;
  result.hits.resize(queries.rows);
  if (options.report != nullptr) *options.report = {};
  if (queries.rows == 0 || excludes_all(options.radius, corpus.impl().lists.inner_product)) return result;
  RangeSearch(*impl_, corpus, probes.lists == nullptr ? 0 : probes.nprobe, options, stream, result)
      .run(queries, probes);
  return result;
}

RangeHits Engine::range(const DeviceCorpus& centroids, const DeviceCorpus& lists, const Rows& queries,
                        std::size_t nprobe, const RangeOptions& options, StreamHandle stream) {
  const std::size_t nlist = lists.impl().lists.nlist, found = std::min(nprobe, nlist);
  if ((nprobe >= nlist && options.max_codes == 0) || queries.rows == 0)
    return range(lists, queries, {}, options, stream);
  check_k(found, "nprobe");
  const DeviceGuard guard(impl_->device);
  const DeviceMemory memory(impl_->allocator, queries.rows * found * sizeof(std::int32_t), stream);
  auto* probes = reinterpret_cast<std::int32_t*>(memory.data());
  SearchOptions coarse;
  coarse.k = found;
  coarse.tuning.workspace = options.tuning.workspace;
  topk(centroids, queries, {}, coarse, {nullptr, nullptr, probes, true}, stream);
  return range(lists, queries, {probes, found, true}, options, stream);
}

}  // namespace ivf::detail::gpu

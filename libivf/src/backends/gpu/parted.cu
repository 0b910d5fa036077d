// Searching a corpus part by part. One thread of the host brings the next part while another waits for the search of
// the one before, and merges its results.

#include "backends/gpu/parted.h"

#include <future>
#include <limits>
#include <string>

#include "backends/gpu/engine_impl.h"
#include "backends/gpu/merge.h"
#include "ivf/error.hpp"

namespace ivf::detail::gpu {
namespace {

/// Cuts ranges of lists into parts of so many places.
class Parts {
 public:
  Parts(std::vector<RowRange> wanted, std::uint32_t places) : wanted_(std::move(wanted)), places_(places) {}

  /// The ranges of the next part; none when there is none.
  std::vector<RowRange> next() {
    std::vector<RowRange> part;
    std::uint64_t left = places_;
    for (; list_ < wanted_.size(); ++list_) {
      RowRange& range = wanted_[list_];
      if (range.first >= range.last) continue;
      const std::uint64_t taken = std::min(range.last - range.first, left);
      if (taken == 0) break;
      part.resize(wanted_.size());
      part[list_] = {range.first, range.first + taken};
      range.first += taken;
      left -= std::min(left, padded_rows(taken));
      if (range.first < range.last) break;
    }
    return part;
  }

 private:
  std::vector<RowRange> wanted_;
  std::uint32_t places_;
  std::size_t list_ = 0;
};

/// The most places, in whole groups, that a part of so many bytes has; 0: none.
std::uint32_t places_within(const Corpus& corpus, std::uint64_t bytes) {
  std::uint64_t fits = 0, beyond = (std::numeric_limits<std::uint32_t>::max() - 65536u) / group_rows;
  while (beyond - fits > 1) {
    const std::uint64_t middle = (fits + beyond) / 2;
    (corpus_bytes(corpus, static_cast<std::uint32_t>(middle * group_rows), true) <= bytes ? fits : beyond) = middle;
  }
  return static_cast<std::uint32_t>(fits * group_rows);
}

}  // namespace

struct PartedCorpus::Impl {
  Engine& api;
  Engine::Impl& engine;
  const Corpus corpus;
  const KeptRows kept;
  const std::vector<RowRange> ranges;  ///< Of all rows that may be searched.
  const std::vector<std::uint64_t> sets;
  unsigned threads;
  std::uint32_t places = 0;  ///< Of a part.
  std::shared_ptr<DeviceMemory> buffers[2];
  DeviceMemory pieces;
  Stream copies{};
  std::size_t parts = 0;

  Impl(Engine& of, Engine::Impl& impl, const Corpus& rows, std::uint64_t memory, unsigned wanted_threads,
       const Part& part)
      : api(of),
        engine(impl),
        corpus(rows),
        kept(corpus),
        ranges(kept.ranges(part)),
        sets(set_begins(corpus)),
        threads(wanted_threads == 0 ? available_threads() : wanted_threads) {
    const DeviceGuard guard(engine.device);
    // No part is larger than the whole.
    const Layout whole(kept, ranges);
    const std::uint64_t half = std::min<std::uint64_t>(memory / 2, corpus_bytes(corpus, whole.places, true));
    places = std::min(places_within(corpus, half), std::max(whole.places, group_rows));
    if (places == 0) {
      throw Error(ErrorKind::failed, "expected at least " + std::to_string(2 * corpus_bytes(corpus, group_rows, true)) +
                                         " bytes of device memory for parts of " + std::to_string(corpus.rows) +
                                         " rows, found a limit of " + std::to_string(memory) + "; raise it");
    }
    const std::size_t bytes = corpus_bytes(corpus, places, true), piece_bytes = loading_bytes(corpus);
    require_memory(2 * bytes + piece_bytes, corpus.rows);
    for (auto& buffer : buffers) buffer = std::make_shared<DeviceMemory>(engine.allocator, bytes, nullptr);
    pieces = DeviceMemory(engine.allocator, piece_bytes, nullptr);
    // Another stream uses the memory from here on: what was done in it before has to end first.
    check_status(IVF_GPU(StreamSynchronize)(nullptr), "memory of the parts");
    check_status(IVF_GPU(StreamCreateWithFlags)(&copies, IVF_GPU(StreamNonBlocking)), "stream");
  }
  ~Impl() { static_cast<void>(IVF_GPU(StreamDestroy)(copies)); }

  std::unique_ptr<DeviceCorpus> load(const std::vector<RowRange>& wanted, unsigned buffer, HiddenRows hidden) {
    const DeviceGuard guard(engine.device);
    const Loader loader{engine.staging, pieces.data(), threads, copies};
    auto rows = loader.bring(kept, Layout(kept, wanted), buffers[buffer], hidden);
    check_status(IVF_GPU(StreamSynchronize)(copies), "copy of a part");
    return rows;
  }

  /// Calls visit(part) for parts that hold all wanted rows, while the next is on its way. visit() waits for its work.
  template <class Visit>
  void each_part(std::vector<RowRange> wanted, HiddenRows hidden, Visit visit) {
    if (!hidden.empty()) check_hidden(hidden, sets);
    Parts cut(std::move(wanted), places);
    parts = 0;
    const auto begin = [&](unsigned buffer) {
      auto rows = cut.next();
      if (rows.empty()) return std::future<std::unique_ptr<DeviceCorpus>>();
      return std::async(std::launch::async,
                        [this, rows = std::move(rows), buffer, hidden] { return load(rows, buffer, hidden); });
    };
    auto next = begin(0);
    while (next.valid()) {
      const std::unique_ptr<DeviceCorpus> part = next.get();
      ++parts;
      next = begin(parts % 2);
      visit(*part);
    }
  }

  /// What a search looks at: queries and lists in device memory, and the rows of these lists.
  struct Request {
    DeviceMemory memory;
    Rows queries;
    ProbeLists probes;
    std::vector<RowRange> wanted;
  };

  Request prepare(const DeviceCorpus* centroids, const Rows& queries, std::size_t nprobe, const ProbeLists& probes,
                  std::uint64_t max_codes, std::uint64_t workspace, StreamHandle handle) {
    const Stream stream = static_cast<Stream>(handle);
    const std::size_t nq = queries.rows, d = corpus.dim;
    const bool whole = centroids != nullptr ? nprobe >= corpus.nlist && max_codes == 0 : probes.lists == nullptr;
    const std::size_t nlists = whole ? 0 : centroids != nullptr ? std::min(nprobe, corpus.nlist) : probes.nprobe;
    Request request;
    float* own_queries = nullptr;
    std::int32_t* own_lists = nullptr;
    const auto take = [&](Arena& arena) {
      own_queries = arena.take<float>(queries.on_device ? 0 : nq * d);
      own_lists = arena.take<std::int32_t>(nq * nlists);
    };
    Arena counter;
    take(counter);
    request.memory = DeviceMemory(engine.allocator, counter.used(), handle);
    Arena arena(request.memory.data());
    take(arena);
    const float* data = own_queries;
    std::size_t stride = 0;
    bring_queries(queries, d, 0, nq, data, stride, stream);
    request.queries = {data, nq, stride, true};
    if (whole) {
      request.wanted = ranges;
      if (max_codes == 0) return request;
      const std::vector<RowRange> first = kept.ranges({0, max_codes});
      for (std::size_t l = 0; l < first.size(); ++l)
        request.wanted[l].last = std::min(request.wanted[l].last, first[l].last);
      return request;
    }
    const std::int32_t* lists = own_lists;
    if (centroids != nullptr) {
      check_k(nlists, "nprobe");
      SearchOptions coarse;
      coarse.k = nlists;
      coarse.tuning.workspace = workspace;
      api.topk(*centroids, request.queries, {}, coarse, {nullptr, nullptr, own_lists, true}, handle);
    } else {
      bring_probes(probes, 0, nq, lists, stream);
    }
    request.probes = {lists, nlists, true};
    std::vector<std::int32_t> looked_at(nq * nlists);
    check_status(IVF_GPU(MemcpyAsync)(looked_at.data(), lists, looked_at.size() * sizeof(std::int32_t),
                                      IVF_GPU(MemcpyDeviceToHost), stream),
                 "copy of lists");
    check_status(IVF_GPU(StreamSynchronize)(stream), "copy of lists");
    request.wanted.resize(corpus.nlist);
    for (const std::int32_t list : looked_at) {
      if (list >= 0) request.wanted[static_cast<std::size_t>(list)] = ranges[static_cast<std::size_t>(list)];
    }
    return request;
  }
};

PartedCorpus::PartedCorpus(Engine& engine, const Corpus& corpus, std::uint64_t memory, unsigned threads,
                           const Part& part)
    : impl_(std::make_unique<Impl>(engine, *engine.impl_, corpus, memory, threads, part)) {}
PartedCorpus::~PartedCorpus() = default;

std::size_t PartedCorpus::parts() const noexcept { return impl_->parts; }

void PartedCorpus::search(const DeviceCorpus* centroids, const Rows& queries, std::size_t nprobe,
                          const ProbeLists& probes, HiddenRows hidden, const SearchOptions& options,
                          const Results& results, StreamHandle stream) {
  check_k(options.k, "k");
  Impl& impl = *impl_;
  const DeviceGuard guard(impl.engine.device);
  const std::size_t nq = queries.rows, k = options.k;
  if (nq == 0) return;
  MergedResults merged(nq, k, impl.corpus.inner_product);
  Report sum;
  {
    auto request =
        impl.prepare(centroids, queries, nprobe, probes, options.max_codes, options.tuning.workspace, stream);
    std::vector<float> values(nq * k);
    std::vector<std::int64_t> ids(nq * k);
    impl.each_part(std::move(request.wanted), hidden, [&](const DeviceCorpus& part) {
      Report report;
      SearchOptions of_part = options;
      of_part.report = options.report == nullptr ? nullptr : &report;
      impl.api.topk(part, request.queries, request.probes, of_part, {values.data(), ids.data(), nullptr, false},
                    stream);
      merged.add(values.data(), ids.data(), impl.threads);
      add_report(sum, report);
    });
  }
  if (options.report != nullptr) *options.report = sum;
  const std::vector<std::int32_t> lists(merged.ids().begin(), merged.ids().end());
  const auto give = [&](auto* to, const auto& from) {
    if (to == nullptr) return;
    if (!results.on_device) {
      std::copy(from.begin(), from.end(), to);
      return;
    }
    check_status(IVF_GPU(MemcpyAsync)(to, from.data(), from.size() * sizeof(from[0]), IVF_GPU(MemcpyHostToDevice),
                                      static_cast<Stream>(stream)),
                 "copy of results");
  };
  give(results.values, merged.values());
  give(results.ids, merged.ids());
  give(results.lists, lists);
  check_status(IVF_GPU(StreamSynchronize)(static_cast<Stream>(stream)), "copy of results");
}

RangeHits PartedCorpus::range(const DeviceCorpus* centroids, const Rows& queries, std::size_t nprobe,
                              const ProbeLists& probes, HiddenRows hidden, const RangeOptions& options,
                              StreamHandle stream) {
  Impl& impl = *impl_;
  const DeviceGuard guard(impl.engine.device);
  RangeHits hits;
  hits.hits.resize(queries.rows);
  Report sum;
  if (queries.rows != 0) {
    auto request =
        impl.prepare(centroids, queries, nprobe, probes, options.max_codes, options.tuning.workspace, stream);
    impl.each_part(std::move(request.wanted), hidden, [&](const DeviceCorpus& part) {
      Report report;
      RangeOptions of_part = options;
      of_part.report = options.report == nullptr ? nullptr : &report;
      add_hits(hits, impl.api.range(part, request.queries, request.probes, of_part, stream), impl.corpus.inner_product,
               options.threads);
      add_report(sum, report);
    });
  }
  if (options.report != nullptr) *options.report = sum;
  return hits;
}

}  // namespace ivf::detail::gpu

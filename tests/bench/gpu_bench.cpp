// Measures the GPU engine on standard normal data: milliseconds a search (queries and results in device memory, median
// of synchronised wall clock), phases from events, survivors, achieved bytes and operations a second.
//
//   ivf_gpu_bench nb=262144 d=128 nlist=512 nprobe=32 k=20 nq=1,8,32 [mode=auto|matrix|csr] [tile=] [first=] [growth=]
//                 [slice=] [narrow=1] [repeat=] [check=QUERIES] [variants=1] [same=RUNS] [profile=1] [memory=BYTES]
//
// variants=1 measures every nq under several tunings. check=N compares N queries with a brute-force canonical scan.
// same=N runs N times more, without counting, and compares all results with the first ones, to the last bit.
// profile=1 marks one search of each for a profiler that starts off (ncu --profile-from-start off). memory=BYTES also
// loads the lists once more, and searches them part by part through so much memory, which must find the same.

#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <numeric>
#include <string>
#include <thread>

#include "backends/gpu/parted.h"
#include "kmeans/fixed_point.h"
#include "rows.h"
#include "support/oracle.h"

namespace {

using namespace ivf;
using namespace ivf::detail::gpu;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(status));
  std::exit(1);
}

template <class T>
class OnDevice {
 public:
  explicit OnDevice(std::size_t count) : count_(count) {
    check(cudaMalloc(&data_, std::max<std::size_t>(1, count * sizeof(T))));
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() { cudaFree(data_); }
  T* get() const { return static_cast<T*>(data_); }
  void set(const T* values) { check(cudaMemcpy(data_, values, count_ * sizeof(T), cudaMemcpyHostToDevice)); }
  void clear() { check(cudaMemset(data_, 0, count_ * sizeof(T))); }
  std::vector<T> values() const {
    std::vector<T> result(count_);
    check(cudaMemcpy(result.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return result;
  }

 private:
  std::size_t count_;
  void* data_ = nullptr;
};

template <class Body>
void in_parallel(std::size_t n, Body body) {
  const std::size_t count = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < count; ++t) threads.emplace_back([=] { body(n * t / count, n * (t + 1) / count); });
  for (auto& thread : threads) thread.join();
}

/// Standard normal numbers; number i depends on i and the seed only.
std::vector<float> normals(std::size_t n, std::uint64_t seed) {
  std::vector<float> values(n);
  in_parallel((n + 1) / 2, [&values, n, seed](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      std::uint64_t x = (i + 1) * 0x9e3779b97f4a7c15ull + seed * 0xd1b54a32d192ed03ull;
      const auto next = [&x] {
        x += 0x9e3779b97f4a7c15ull;
        std::uint64_t z = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
      };
      const float u = static_cast<float>((next() >> 40) + 1) * 0x1p-24f,
                  v = static_cast<float>(next() >> 40) * 0x1p-24f;
      const float r = std::sqrt(-2 * std::log(u));
      values[2 * i] = r * std::cos(6.2831853f * v);
      if (2 * i + 1 < n) values[2 * i + 1] = r * std::sin(6.2831853f * v);
    }
  });
  return values;
}

/// Rows grouped by list, as a corpus of one segment.
struct Store {
  std::vector<std::uint64_t> offsets;
  std::vector<idx_t> ids;
  detail::OwnedPlanes planes;
  std::vector<float> residuals;
  detail::Corpus corpus;

  Store(const float* rows, std::size_t n, std::size_t d, const std::vector<std::int32_t>& list_of, std::size_t nlist) {
    offsets.assign(nlist + 1, 0);
    for (const auto list : list_of) ++offsets[static_cast<std::size_t>(list) + 1];
    for (std::size_t l = 0; l < nlist; ++l) offsets[l + 1] += offsets[l];
    ids.resize(n);
    std::vector<std::uint64_t> next = offsets;
    for (std::size_t i = 0; i < n; ++i) ids[next[static_cast<std::size_t>(list_of[i])]++] = static_cast<idx_t>(i);
    std::vector<float> ordered(n * d);
    residuals.resize(nlist);
    in_parallel(nlist, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = offsets[begin]; i < offsets[end]; ++i)
        std::copy_n(rows + static_cast<std::size_t>(ids[i]) * d, d, &ordered[i * d]);
      for (std::size_t l = begin; l < end; ++l)
        residuals[l] = detail::residual_bound(&ordered[offsets[l] * d], offsets[l + 1] - offsets[l], d);
    });
    planes = detail::OwnedPlanes::from(MatrixView(ordered.data(), n, d));
    corpus.dim = d;
    corpus.nlist = nlist;
    corpus.rows = n;
    format::SegmentView view;
    view.rows = n;
    view.offsets = offsets;
    view.ids = ids;
    view.planes = planes.view(d);
    view.residuals = residuals;
    corpus.segments = {view};
  }
};

struct Options {
  std::map<std::string, std::string> given;
  std::size_t number(const std::string& name, std::size_t otherwise) const {
    const auto found = given.find(name);
    return found == given.end() ? otherwise : std::stoull(found->second);
  }
  std::vector<std::size_t> numbers(const std::string& name, const std::string& otherwise) const {
    const auto found = given.find(name);
    const std::string text = found == given.end() ? otherwise : found->second;
    std::vector<std::size_t> result;
    for (std::size_t at = 0; at < text.size();
         at = text.find(',', at) == std::string::npos ? text.size() : text.find(',', at) + 1)
      result.push_back(std::stoull(text.substr(at)));
    return result;
  }
};

struct BuiltIndex {
  std::unique_ptr<DeviceCorpus> centroids, lists;
  std::vector<float> centres;
  std::unique_ptr<Store> store;
};

/// K-means of a few iterations on the device, and all rows in lists.
BuiltIndex build(Engine& engine, const std::vector<float>& rows, std::size_t d, std::size_t nlist,
                 std::size_t iterations) {
  const std::size_t n = rows.size() / d, train = std::min(n, nlist * 40);
  BuiltIndex index;
  index.centres.assign(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(nlist * d));
  const std::size_t batch = std::min<std::size_t>(n, 1 << 20);
  OnDevice<float> device_rows(std::max(train, batch) * d);
  OnDevice<std::int32_t> lists(std::max(train, batch));
  OnDevice<std::uint64_t> sums(nlist * d), sizes(nlist);
  check(cudaMemcpy(device_rows.get(), rows.data(), train * d * sizeof(float), cudaMemcpyHostToDevice));
  const auto fixed = detail::FixedPoint::of(8.0f, train);
  const auto load = [&] {
    const Store store(index.centres.data(), nlist, d, std::vector<std::int32_t>(nlist, 0), 1);
    index.centroids = engine.load(store.corpus, nullptr);
  };
  double assign_ms = 0, sums_ms = 0;
  for (std::size_t i = 0; i < iterations; ++i) {
    load();
    check(cudaDeviceSynchronize());
    auto start = Clock::now();
    engine.topk(*index.centroids, {device_rows.get(), train, 0, true}, {}, {}, {nullptr, nullptr, lists.get(), true},
                nullptr);
    check(cudaDeviceSynchronize());
    assign_ms += ms_since(start);
    start = Clock::now();
    sums.clear();
    sizes.clear();
    engine.add_to_sums({device_rows.get(), train, 0, true}, d, lists.get(), fixed.magic, sums.get(), sizes.get(),
                       nullptr);
    check(cudaDeviceSynchronize());
    sums_ms += ms_since(start);
    const auto s = sums.values(), c = sizes.values();
    for (std::size_t l = 0; l < nlist; ++l) {
      for (std::size_t j = 0; j < d && c[l] != 0; ++j) index.centres[l * d + j] = fixed.mean(s[l * d + j], c[l]);
    }
  }
  load();
  std::vector<std::int32_t> list_of(n);
  double add_ms = 0;
  for (std::size_t first = 0; first < n; first += batch) {
    const std::size_t count = std::min(batch, n - first);
    check(cudaMemcpy(device_rows.get(), &rows[first * d], count * d * sizeof(float), cudaMemcpyHostToDevice));
    const auto start = Clock::now();
    engine.topk(*index.centroids, {device_rows.get(), count, 0, true}, {}, {}, {nullptr, nullptr, lists.get(), true},
                nullptr);
    check(cudaDeviceSynchronize());
    add_ms += ms_since(start);
    check(cudaMemcpy(&list_of[first], lists.get(), count * sizeof(std::int32_t), cudaMemcpyDeviceToHost));
  }
  std::printf("build: %zu iterations over %zu rows: assign %.2f ms, sums %.2f ms; all %zu rows assigned in %.2f ms\n",
              iterations, train, assign_ms, sums_ms, n, add_ms);
  index.store = std::make_unique<Store>(rows.data(), n, d, list_of, nlist);
  const auto start = Clock::now();
  index.lists = engine.load(index.store->corpus, nullptr);
  const auto& offsets = index.store->offsets;
  std::uint64_t largest = 0;
  for (std::size_t l = 0; l < nlist; ++l) largest = std::max(largest, offsets[l + 1] - offsets[l]);
  std::printf("loaded %.1f MB in %.1f ms; largest list %llu rows\n", static_cast<double>(index.lists->bytes()) / 1e6,
              ms_since(start), static_cast<unsigned long long>(largest));
  return index;
}

/// How fast lists are copied: as a whole, and by searches that have memory for parts of them only.
void measure_copies(Engine& engine, const BuiltIndex& index, const std::vector<float>& queries,
                    const std::vector<std::size_t>& nqs, std::size_t nprobe, std::size_t k, std::uint64_t memory) {
  const detail::Corpus& corpus = index.store->corpus;
  auto start = Clock::now();
  const auto again = engine.load(corpus, nullptr);
  double ms = ms_since(start);
  const double megabytes = static_cast<double>(again->bytes()) / 1e6;
  std::printf("loaded again: %.1f MB in %.1f ms, %.1f GB/s\n", megabytes, ms, megabytes / ms);
  PartedCorpus parted(engine, corpus, memory);
  for (const std::size_t nq : nqs) {
    const Rows of_host{queries.data(), nq, 0, false};
    std::vector<float> values(nq * k), part_values(nq * k);
    std::vector<std::int64_t> ids(nq * k), part_ids(nq * k);
    SearchOptions search;
    search.k = k;
    engine.search(*index.centroids, *index.lists, of_host, nprobe, search, {values.data(), ids.data(), nullptr, false},
                  nullptr);
    start = Clock::now();
    parted.search(index.centroids.get(), of_host, nprobe, {}, {}, search,
                  {part_values.data(), part_ids.data(), nullptr, false}, nullptr);
    ms = ms_since(start);
    std::printf("nq %6zu  part by part %9.2f ms, %zu parts, the whole at %.1f GB/s: %s\n", nq, ms, parted.parts(),
                megabytes / ms, values == part_values && ids == part_ids ? "the same results" : "OTHER RESULTS");
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto equals = argument.find('=');
    if (equals == std::string::npos) {
      std::fprintf(stderr, "expected NAME=VALUE, found %s\n", argv[i]);
      return 2;
    }
    options.given[argument.substr(0, equals)] = argument.substr(equals + 1);
  }
  const std::size_t nb = options.number("nb", 262144), d = options.number("d", 128),
                    nlist = options.number("nlist", 512), nprobe = options.number("nprobe", 32),
                    k = options.number("k", 20);
  const auto nqs = options.numbers("nq", "1,8,32,128,512,2048,19600");
  const std::size_t most = *std::max_element(nqs.begin(), nqs.end());
  Engine engine(0, pool_allocator());
  cudaMemPool_t pool;
  check(cudaDeviceGetDefaultMemPool(&pool, 0));
  std::uint64_t keep = ~0ull;  // As a caching allocator would.
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
  std::printf("%s; nb %zu d %zu nlist %zu nprobe %zu k %zu\n", device_info(0).name.c_str(), nb, d, nlist, nprobe, k);
  const std::vector<float> rows = normals(nb * d, 1), queries = normals(most * d, 2);
  const BuiltIndex index = build(engine, rows, d, nlist, options.number("iterations", 10));

  if (const std::uint64_t memory = options.number("memory", 0); memory != 0)
    measure_copies(engine, index, queries, nqs, nprobe, k, memory);

  OnDevice<float> device_queries(most * d), values(most * k);
  OnDevice<std::int64_t> ids(most * k);
  device_queries.set(queries.data());
  struct Variant {
    std::string name;
    SearchMode mode;
    Tuning tuning;
  };
  const std::string mode = options.given.count("mode") != 0 ? options.given.at("mode") : "auto";
  Variant plain{mode,
                mode == "matrix" ? SearchMode::matrix
                : mode == "csr"  ? SearchMode::csr
                                 : SearchMode::automatic,
                {}};
  plain.tuning.query_tile = static_cast<unsigned>(options.number("tile", 0));
  plain.tuning.first_rows = static_cast<unsigned>(options.number("first", 0));
  plain.tuning.round_growth = static_cast<unsigned>(options.number("growth", 0));
  plain.tuning.slice_rows = static_cast<unsigned>(options.number("slice", 0));
  plain.tuning.narrow = options.number("narrow", 0) != 0;
  plain.tuning.workspace = options.number("workspace", 0);
  for (const std::size_t nq : nqs) {
    std::vector<Variant> variants = {plain};
    if (options.number("variants", 0) != 0) {
      const auto add = [&](SearchMode how, bool narrow, unsigned tile, unsigned first, unsigned growth) {
        Variant v{
            (how == SearchMode::matrix ? "matrix"
                                       : std::string(narrow ? "narrow" : "wide") + " tile " + std::to_string(tile) +
                                             " first " + std::to_string(first) + " growth " + std::to_string(growth)),
            how, plain.tuning};
        v.tuning.narrow = narrow;
        v.tuning.query_tile = tile;
        v.tuning.first_rows = first;
        v.tuning.round_growth = growth;
        variants.push_back(v);
      };
      if (nq <= 256) add(SearchMode::matrix, false, 0, 0, 0);
      add(SearchMode::csr, true, 0, 0, 0);
      for (const unsigned tile : {8u, 16u, 32u, 64u, 128u}) {
        if (nq > 2048 || tile * nlist < nq * nprobe / 2 || tile * nlist > nq * nprobe * 8) continue;
        add(SearchMode::csr, true, tile, 1 << 20, 0);
      }
      for (const unsigned tile : {32u, 64u, 128u}) {
        if (tile * nlist > nq * nprobe * 16) continue;
        add(SearchMode::csr, false, tile, 1 << 20, 0);
        if (nq < 512) continue;
        for (const unsigned first : {1024u, 1536u, 2048u, 4096u}) add(SearchMode::csr, false, tile, first, 32);
      }
    }
    for (const Variant& variant : variants) {
      SearchOptions search;
      search.k = k;
      search.mode = variant.mode;
      search.tuning = variant.tuning;
      const auto run = [&] {
        engine.search(*index.centroids, *index.lists, {device_queries.get(), nq, 0, true}, nprobe, search,
                      {values.get(), ids.get(), nullptr, true}, nullptr);
      };
      for (int i = 0; i < 3; ++i) run();
      check(cudaDeviceSynchronize());
      std::vector<double> times;
      const auto begin = Clock::now();
      while (times.size() < options.number("repeat", 50) && ms_since(begin) < 1500) {
        const auto start = Clock::now();
        run();
        check(cudaDeviceSynchronize());
        times.push_back(ms_since(start));
      }
      std::sort(times.begin(), times.end());
      if (options.number("profile", 0) != 0) {
        check(cudaProfilerStart());
        run();
        check(cudaDeviceSynchronize());
        check(cudaProfilerStop());
      }
      Report report;
      search.report = &report;
      run();
      const double ms = times[times.size() / 2];
      const double scanned = static_cast<double>(nb) * static_cast<double>(nprobe) / static_cast<double>(nlist);
      std::printf(
          "nq %6zu  %-34s %9.4f ms (min %.4f)  %7.1f TFLOP/s  refined %.1f candidates %.1f a query, overflowed %llu |",
          nq, variant.name.c_str(), ms, times.front(),
          static_cast<double>(nq) * scanned * static_cast<double>(d) * 2 / ms / 1e9,
          static_cast<double>(report.rows_refined) / static_cast<double>(nq),
          static_cast<double>(report.candidates) / static_cast<double>(nq),
          static_cast<unsigned long long>(report.queries_overflowed));
      for (const auto& phase : report.phases) std::printf(" %s %.3f", phase.name, static_cast<double>(phase.ms));
      std::printf("\n");
      std::fflush(stdout);
      if (const std::size_t again = options.number("same", 0); again != 0) {
        const auto first_values = values.values();
        const auto first_ids = ids.values();
        std::size_t differing = 0, runs = 0;
        std::string example;
        for (std::size_t i = 0; i < again; ++i) {
          run();
          check(cudaDeviceSynchronize());
          const auto next_values = values.values();
          const auto next_ids = ids.values();
          std::size_t queries_differing = 0;
          for (std::size_t q = 0; q < nq; ++q) {
            const auto begin = static_cast<std::ptrdiff_t>(q * k), end = begin + static_cast<std::ptrdiff_t>(k);
            const bool equal =
                std::equal(first_ids.begin() + begin, first_ids.begin() + end, next_ids.begin() + begin) &&
                std::equal(first_values.begin() + begin, first_values.begin() + end, next_values.begin() + begin);
            if (equal) continue;
            ++queries_differing;
            if (!example.empty()) continue;
            example = "query " + std::to_string(q) + ":";
            for (std::size_t j = q * k; j < (q + 1) * k; ++j)
              example += " " + std::to_string(first_ids[j]) + "/" + std::to_string(next_ids[j]);
          }
          differing += queries_differing;
          runs += queries_differing != 0;
        }
        std::printf("    %zu more runs: %zu differ from the first, in %zu queries %s\n", again, runs, differing,
                    example.c_str());
        if (runs != 0) return 4;
      }
      const std::size_t checked = std::min(nq, options.number("check", 0));
      if (checked == 0) continue;
      const auto found_values = values.values();
      const auto found_ids = ids.values();
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < checked; ++i) {
        const std::size_t q = i * (nq / checked);
        const auto probes =
            oracle::topk(Metric::l2, &queries[q * d], {index.centres, {}, d}, oracle::everything(nlist), nprobe);
        std::vector<std::size_t> candidates;
        for (const auto& probe : probes) {
          const auto list = static_cast<std::size_t>(probe.id);
          for (std::uint64_t r = index.store->offsets[list]; r < index.store->offsets[list + 1]; ++r)
            candidates.push_back(static_cast<std::size_t>(index.store->ids[r]));
        }
        const auto expected = oracle::topk(Metric::l2, &queries[q * d], {rows, {}, d}, candidates, k);
        for (std::size_t j = 0; j < k; ++j)
          wrong += expected[j].id != found_ids[q * k + j] || !(expected[j].value == found_values[q * k + j]);
      }
      std::printf("    checked %zu queries: %zu results differ from a brute-force canonical scan\n", checked, wrong);
      if (wrong != 0) return 4;
    }
  }
  return 0;
}

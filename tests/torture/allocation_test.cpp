// Memory runs out at every allocation in turn: an error, never a crash, and what was there before is still there.

#include <atomic>
#include <cstdlib>
#include <new>

#include "ivf/datasets/datasets.hpp"
#include "ivf/index.hpp"
#include "support/catch.hpp"
#include "support/shapes.h"
#include "support/temporary_directory.h"

namespace {

std::atomic<bool> armed{false};
std::atomic<long> until_failure{0};
std::atomic<bool> failed{false};

void* allocate(std::size_t size, std::size_t alignment) noexcept {
  if (armed.load(std::memory_order_relaxed) && until_failure.fetch_sub(1) == 0) {
    failed = true;
    return nullptr;
  }
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  return alignment <= alignof(std::max_align_t) ? std::malloc(size == 0 ? 1 : size)
                                                : std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
}

void* allocate_or_throw(std::size_t size, std::size_t alignment = alignof(std::max_align_t)) {
  if (void* memory = allocate(size, alignment)) return memory;
  throw std::bad_alloc();
}

}  // namespace

// GCC cannot see that these belong together.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
void* operator new(std::size_t size) { return allocate_or_throw(size); }
void* operator new[](std::size_t size) { return allocate_or_throw(size); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, alignof(std::max_align_t));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

using namespace ivf;

namespace {

/// Runs `action` with the first allocation failing, then the second, and so on until none fails any more; `check` after
/// each. Of very many, every few. Returns how many failed.
template <class Action, class Check>
int with_each_allocation_failing(Action action, Check check) {
  constexpr int kAllOf = 150;
  int failures = 0;
  for (long number = 0;; number += failures < kAllOf ? 1 : 1 + number / 20) {
    failed = false;
    until_failure = number;
    bool threw = false;
    armed = true;
    try {
      action();
    } catch (const std::bad_alloc&) {
      threw = true;
    } catch (const Error&) {
      threw = true;
    }
    armed = false;
    INFO("allocation number " << number);
    check(threw);
    if (!failed) {
      REQUIRE_FALSE(threw);
      return failures;
    }
    ++failures;
  }
}

std::vector<float> some_rows(std::size_t n, std::size_t d, std::uint64_t seed) {
  shapes::Random random(seed);
  return shapes::matrix(shapes::Kind::clustered, n, d, random);
}

constexpr std::size_t kDim = 12;

struct Data {
  std::vector<float> rows = some_rows(700, kDim, 1);
  std::vector<float> queries = some_rows(40, kDim, 2);
  MatrixView row_view() const { return {rows.data(), rows.size() / kDim, kDim}; }
  MatrixView query_view() const { return {queries.data(), queries.size() / kDim, kDim}; }

  IndexIVFFlat index() const {
    IndexIVFFlat index(kDim, 8, Metric::l2);
    index.train(row_view(), {});
    index.add(row_view(), {});
    return index;
  }
};

}  // namespace

TEST_CASE("out of memory in a search is an error, and the next search is right") {
  const Data data;
  const IndexIVFFlat index = data.index();
  SearchParams params;
  params.threads = GENERATE(1u, 2u);
  params.nprobe = 4;
  params.mode = GENERATE(SearchMode::matrix, SearchMode::csr);
  const SearchResult expected = index.search(data.query_view(), params);
  const auto same = [&](bool) {
    const SearchResult again = index.search(data.query_view(), params);
    REQUIRE((again.ids == expected.ids && again.distances == expected.distances));
  };
  CHECK(with_each_allocation_failing([&] { index.search(data.query_view(), params); }, same) > 3);
  CHECK(with_each_allocation_failing([&] { index.search_exact(data.query_view(), params); }, same) > 3);
  CHECK(with_each_allocation_failing([&] { index.range_search(data.query_view(), 5.0f, params); }, same) > 3);
}

TEST_CASE("out of memory in an addition or a training has no effect") {
  const Data data;
  RunOptions options;
  options.threads = GENERATE(1u, 2u);
  {
    IndexIVFFlat index = data.index();
    std::uint64_t rows = index.size();
    const auto unchanged = [&](bool threw) {
      if (!threw) rows += 700;
      REQUIRE(index.size() == rows);
      REQUIRE(index.search(data.query_view()).nq == 40);
    };
    CHECK(with_each_allocation_failing([&] { index.add(data.row_view(), options); }, unchanged) > 3);
  }
  TrainParams params;
  params.threads = options.threads;
  params.iterations = 2;
  const auto expected = [&] {
    IndexIVFFlat index(kDim, 8, Metric::l2);
    index.train(data.row_view(), params);
    return index.centroids();
  }();
  std::unique_ptr<IndexIVFFlat> index;
  const int failures = with_each_allocation_failing(
      [&] {
        index = std::make_unique<IndexIVFFlat>(kDim, 8, Metric::l2);
        index->train(data.row_view(), params);
      },
      [&](bool threw) {
        if (index) REQUIRE(index->is_trained() == !threw);
        if (!threw) REQUIRE(index->centroids() == expected);
        index.reset();
      });
  CHECK(failures > 3);
}

TEST_CASE("out of memory while a file is written or read leaves the file as it was") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("a.ivf");
  const Data data;
  const IndexIVFFlat index = data.index();
  SaveOptions options;
  options.threads = 1;
  options.compress = GENERATE(false, true);
  CHECK(with_each_allocation_failing([&] { index.save(path, options); },
                                     [&](bool threw) {
                                       std::size_t files = 0;
                                       for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
                                         files += entry.path() == path ? 1 : 2;
                                       }
                                       REQUIRE(files == (threw ? 0u : 1u));
                                       std::filesystem::remove(path);
                                     }) > 3);
  index.save(path, options);
  RunOptions one;
  one.threads = 1;
  CHECK(with_each_allocation_failing([&] { load_index(path, one); }, [](bool) {}) > 3);
  CHECK(with_each_allocation_failing([&] { verify_index(path, true, one); }, [](bool) {}) > 3);
  std::uint64_t rows = 700;
  CHECK(with_each_allocation_failing(
            [&] {
              FileAppender appender(path, one);
              appender.append(data.row_view());
              appender.commit();
            },
            [&](bool threw) {
              if (!threw) rows += 700;
              REQUIRE(load_index(path)->size() == rows);
            }) > 3);
  verify_index(path, true);
}

TEST_CASE("out of memory while data are read or written is an error") {
  const support::TemporaryDirectory directory;
  const Data data;
  const std::string format = GENERATE("fvecs", "fbin", "npy", "h5");
  const std::string path = directory.file("x." + format);
  const auto write = [&] {
    datasets::WriteOptions options;
    options.dim = kDim;
    const auto writer = datasets::open_writer(path, options);
    writer->write(data.rows.data(), 700);
    writer->finish();
  };
  CHECK(with_each_allocation_failing(write, [&](bool threw) {
          REQUIRE(std::filesystem::exists(path) == !threw);
          std::filesystem::remove(path);
        }) > 0);
  write();
  if (format == "h5") return;  // Read by another process, whose allocations are not these.
  std::vector<float> rows(data.rows.size());
  CHECK(with_each_allocation_failing(
            [&] {
              const auto reader = datasets::open_reader(path);
              REQUIRE(reader->read(rows.data(), 700) == 700);
            },
            [](bool) {}) > 0);
  CHECK(rows == data.rows);
}

// Coarse step and scan in one go, assignment, and fixed-point sums.

#include <cstring>
#include <numeric>

#include "gpu/device_memory.h"
#include "gpu/gpu_fixture.h"
#include "kmeans/fixed_point.h"
#include "support/catch.hpp"

namespace {

using namespace ivf;
using namespace ivf::support;
using shapes::Kind;

}  // namespace

TEST_CASE("coarse step with scan and refinement on a GPU give the oracle's results", "[gpu]") {
  if (!have_device()) return;
  shapes::Random random(7);
  for (const Metric metric : {Metric::l2, Metric::ip}) {
    for (const Kind kind : {Kind::normal, Kind::clustered, Kind::integers, Kind::offset, Kind::duplicates}) {
      const std::size_t n = scaled(4000, 500), d = 24, nlist = scaled(64, 20), nq = scaled(150, 10), k = 12;
      const std::vector<float> values = shapes::matrix(kind, n, d, random);
      const std::vector<float> centres = shapes::matrix(kind, nlist, d, random);
      const std::vector<float> queries = shapes::matrix(kind, nq, d, random);
      const auto lists = oracle::assign(metric, {values, {}, d}, {centres, {}, d});
      const ListedRows rows(metric, values, d, {}, lists, nlist, 1);
      const ListedRows centroids(metric, centres, d, {}, std::vector<std::int32_t>(nlist, 0), 1, 1);
      const oracle::InvertedFile file(metric, {values, {}, d}, {centres, {}, d});
      for (const std::size_t nprobe : {std::size_t{1}, std::size_t{9}, nlist}) {
        for (const std::uint64_t max_codes : {std::size_t{0}, scaled(333, 111)}) {
          for (const SearchMode mode : {SearchMode::matrix, SearchMode::csr}) {
            INFO(shapes::name(kind) << " nprobe " << nprobe << " max_codes " << max_codes << " mode "
                                    << static_cast<int>(mode));
            Found found(nq, k);
            detail::gpu::SearchOptions options;
            options.k = k;
            options.max_codes = max_codes;
            options.mode = mode;
            options.tuning.first_rows = 128;
            engine().search(centroids.device(), rows.device(), {queries.data(), nq, 0, false}, nprobe, options,
                            found.results(), nullptr);
            for (std::size_t q = 0; q < nq; ++q) {
              const auto candidates = file.candidates(&queries[q * d], nprobe, max_codes);
              REQUIRE(difference(found, q, oracle::topk(metric, &queries[q * d], {values, {}, d}, candidates, k)) ==
                      "");
            }
          }
        }
      }
    }
  }
}

TEST_CASE("assignment on a GPU from and to device memory is the oracle's", "[gpu]") {
  if (!have_device()) return;
  shapes::Random random(8);
  for (const Kind kind : shapes::all_kinds()) {
    const std::size_t n = scaled(3000, 90), d = 17, nlist = scaled(300, 100);
    const std::vector<float> values = shapes::matrix(kind, n, d, random);
    const std::vector<float> centres = shapes::matrix(kind, nlist, d, random);
    const ListedRows centroids(Metric::l2, centres, d, {}, std::vector<std::int32_t>(nlist, 0), 1, 1);
    const OnDevice<float> device_rows(values);
    const OnDevice<std::int32_t> lists(std::vector<std::int32_t>(n, -7));
    engine().topk(centroids.device(), {device_rows.get(), n, 0, true}, {}, {}, {nullptr, nullptr, lists.get(), true},
                  nullptr);
    INFO(shapes::name(kind));
    REQUIRE(lists.values() == oracle::assign(Metric::l2, {values, {}, d}, {centres, {}, d}));
  }
}

TEST_CASE("fixed-point sums on a GPU are those of the CPU", "[gpu]") {
  if (!have_device()) return;
  shapes::Random random(9);
  for (const Kind kind : {Kind::normal, Kind::tiny, Kind::huge, Kind::mixed}) {
    const std::size_t n = 5000, d = 33, nlist = 20;
    const std::vector<float> values = shapes::matrix(kind, n, d, random);
    std::vector<std::int32_t> lists(n);
    for (auto& list : lists) list = static_cast<std::int32_t>(random.below(nlist + 1)) - 1;
    float largest = 0;
    for (const float x : values) largest = std::max(largest, std::abs(x));
    const auto fixed = detail::FixedPoint::of(largest, n);
    std::vector<std::uint64_t> sums(nlist * d), sizes(nlist);
    for (std::size_t i = 0; i < n; ++i) {
      if (lists[i] < 0) continue;
      const auto list = static_cast<std::size_t>(lists[i]);
      detail::accumulate(&values[i * d], d, fixed.magic, &sums[list * d]);
      ++sizes[list];
    }
    const OnDevice<float> device_rows(values);
    const OnDevice<std::int32_t> device_lists(lists);
    const OnDevice<std::uint64_t> device_sums(std::vector<std::uint64_t>(nlist * d)),
        device_sizes(std::vector<std::uint64_t>(nlist, 0));
    engine().add_to_sums({device_rows.get(), n, 0, true}, d, device_lists.get(), fixed.magic, device_sums.get(),
                         device_sizes.get(), nullptr);
    INFO(shapes::name(kind));
    REQUIRE(device_sums.values() == sums);
    REQUIRE(device_sizes.values() == sizes);
  }
}

TEST_CASE("a request that a GPU cannot take is refused with the numbers", "[gpu]") {
  if (!have_device()) return;
  const ListedRows rows(Metric::l2, {1, 2, 3, 4}, 2, {}, {0, 0}, 1, 1);
  detail::gpu::SearchOptions options;
  options.k = 4000;
  float value = 0;
  std::string message;
  try {
    engine().topk(rows.device(), {&value, 1, 0, false}, {}, options, {&value, nullptr, nullptr, false}, nullptr);
  } catch (const Error& error) {
    message = error.what();
  }
  REQUIRE(message == "expected k of 1 to 2048 on a device, found 4000");
}

// Large searches, again and again: what a race loses is little and seldom, and small shapes do not show it.

#include <cstring>
#include <numeric>

#include "gpu/gpu_fixture.h"
#include "support/catch.hpp"

namespace {

using namespace ivf;
using namespace ivf::support;

Found search(const ListedRows& centroids, const ListedRows& rows, const std::vector<float>& queries, std::size_t d,
             std::size_t k, std::size_t nprobe, const detail::gpu::Tuning& tuning) {
  const std::size_t nq = queries.size() / d;
  Found found(nq, k);
  detail::gpu::SearchOptions options;
  options.k = k;
  options.mode = SearchMode::csr;
  options.tuning = tuning;
  engine().search(centroids.device(), rows.device(), {queries.data(), nq, 0, false}, nprobe, options, found.results(),
                  nullptr);
  return found;
}

}  // namespace

TEST_CASE("a large search on a GPU gives the same results every time, with narrow and wide tiles", "[gpu]") {
  if (!have_device()) return;
  const std::size_t n = scaled(100000, 600), d = scaled(128, 20), nlist = scaled(256, 8), nq = scaled(4000, 20);
  const std::size_t k = 20, nprobe = scaled(32, 3);
  shapes::Random random(17);
  const std::vector<float> values = shapes::matrix(shapes::Kind::normal, n, d, random);
  const std::vector<float> centres(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(nlist * d));
  const std::vector<float> queries = shapes::matrix(shapes::Kind::normal, nq, d, random);
  const ListedRows centroids(Metric::l2, centres, d, {}, std::vector<std::int32_t>(nlist, 0), 1, 1);
  std::vector<std::int32_t> lists(n);
  engine().topk(centroids.device(), {values.data(), n, 0, false}, {}, {}, {nullptr, nullptr, lists.data(), false},
                nullptr);
  const ListedRows rows(Metric::l2, values, d, {}, lists, nlist, 1);
  detail::gpu::Tuning narrow;
  narrow.narrow = true;
  const Found expected = search(centroids, rows, queries, d, k, nprobe, narrow);
  for (std::size_t run = 0; run < scaled(60, 1); ++run) {
    for (const unsigned tile : {0u, 32u, 64u, 128u}) {
      detail::gpu::Tuning tuning;
      tuning.query_tile = tile;
      INFO("run " << run << " tile " << tile);
      const Found found = search(centroids, rows, queries, d, k, nprobe, tuning);
      REQUIRE(found.ids == expected.ids);
      REQUIRE(std::memcmp(found.values.data(), expected.values.data(), nq * k * sizeof(float)) == 0);
    }
  }
}

// The engine against the oracle, to the last bit: every kind of data, dimension, mode, tile and round.

#include <algorithm>
#include <memory>
#include <numeric>

#include "gpu/gpu_fixture.h"
#include "support/catch.hpp"

namespace {

using namespace ivf;
using namespace ivf::support;
using detail::gpu::Tuning;
using shapes::Kind;

struct Setting {
  const char* name;
  SearchMode mode;
  Tuning tuning;
};

std::vector<Setting> settings(std::size_t d) {
  std::vector<Setting> all = {{"matrix", SearchMode::matrix, {}}, {"csr", SearchMode::csr, {}}};
  for (const unsigned tile : {8u, 16u, 32u, 64u, 128u, 256u}) {
    // A tile is multiplied as a whole, however few queries are in it.
    if (tile > scaled(256, d > 500 ? 32 : 256)) continue;
    Tuning tuning;
    tuning.query_tile = tile;
    tuning.first_rows = 64;
    tuning.round_growth = 4;
    tuning.slice_rows = tile >= 64 ? 1024 : 128;
    all.push_back({"rounds", SearchMode::csr, tuning});
  }
  Tuning batches;
  batches.workspace = 1 << 20;
  all.push_back({"batches", SearchMode::csr, batches});
  all.push_back({"batches of matrix", SearchMode::matrix, batches});
  return all;
}

Found search(const ListedRows& rows, const std::vector<float>& queries, std::size_t d,
             const detail::gpu::ProbeLists& probes, std::size_t k, std::uint64_t max_codes, const Setting& setting) {
  const std::size_t nq = queries.size() / d;
  Found found(nq, k);
  detail::gpu::SearchOptions options;
  options.k = k;
  options.max_codes = max_codes;
  options.mode = setting.mode;
  options.tuning = setting.tuning;
  options.report = &found.report;
  engine().topk(rows.device(), {queries.data(), nq, 0, false}, probes, options, found.results(), nullptr);
  return found;
}

/// All settings on one corpus: through random probes, and over all rows.
void check(Metric metric, Kind kind, std::size_t n, std::size_t d, std::size_t nlist, std::size_t nq, std::size_t k,
           std::size_t nprobe, std::uint64_t max_codes, std::uint64_t seed) {
  shapes::Random random(seed);
  std::vector<std::int32_t> list_of(n);
  // The last list is empty, the first holds a third of the rows.
  for (auto& list : list_of)
    list = nlist == 1 || random.below(3) == 0 ? 0 : static_cast<std::int32_t>(random.below(nlist - 1));
  std::vector<idx_t> ids(n);
  for (auto& id : ids) id = static_cast<idx_t>(random.below(2 * n)) * (random.below(2) == 0 ? 1 : 4000000000ll);
  const ListedRows rows(metric, shapes::matrix(kind, n, d, random), d, ids, list_of, nlist, 1 + random.below(2));
  std::vector<float> queries = shapes::matrix(kind, nq, d, random);
  for (std::size_t j = 0; j < d; ++j) queries[j] = rows.rows().row(n / 2)[j];
  std::vector<std::int32_t> probes(nq * nprobe, -1);
  for (std::size_t q = 0; q < nq; ++q) {
    std::vector<std::int32_t> lists(nlist);
    std::iota(lists.begin(), lists.end(), 0);
    for (std::size_t r = 0; r < std::min(nprobe, nlist); ++r) {
      std::swap(lists[r], lists[r + random.below(nlist - r)]);
      if (random.below(16) != 0) probes[q * nprobe + r] = lists[r];
    }
  }
  std::vector<std::vector<oracle::Hit>> expected, expected_of_all;
  const auto all = rows.everything(max_codes);
  for (std::size_t q = 0; q < nq; ++q) {
    const auto candidates = rows.candidates(&probes[q * nprobe], nprobe, max_codes);
    expected.push_back(oracle::topk(metric, &queries[q * d], rows.rows(), candidates, k));
    expected_of_all.push_back(oracle::topk(metric, &queries[q * d], rows.rows(), all, k));
  }
  for (const Setting& setting : settings(d)) {
    INFO(shapes::name(kind) << " metric " << static_cast<int>(metric) << " n " << n << " d " << d << " nlist " << nlist
                            << " nq " << nq << " k " << k << " nprobe " << nprobe << " max_codes " << max_codes << " "
                            << setting.name << " tile " << setting.tuning.query_tile);
    const Found found = search(rows, queries, d, {probes.data(), nprobe, false}, k, max_codes, setting);
    const Found found_of_all = search(rows, queries, d, {}, k, max_codes, setting);
    for (std::size_t q = 0; q < nq; ++q) {
      REQUIRE(difference(found, q, expected[q]) == "");
      REQUIRE(difference(found_of_all, q, expected_of_all[q]) == "");
    }
  }
}

}  // namespace

TEST_CASE("every kind of data gives the oracle's results on a GPU", "[gpu]") {
  if (!have_device()) return;
  std::uint64_t seed = 1;
  for (const Kind kind : shapes::all_kinds()) {
    for (const Metric metric : {Metric::l2, Metric::ip}) {
      check(metric, kind, scaled(1500, 150), 40, 9, scaled(37, 3), 10, 4, 0, ++seed);
      check(metric, kind, scaled(3000, 200), 128, 5, scaled(19, 2), 33, 5, scaled(700, 170), ++seed);
    }
  }
}

TEST_CASE("every dimension gives the oracle's results on a GPU", "[gpu]") {
  if (!have_device()) return;
  std::uint64_t seed = 100;
  for (const std::size_t d : {1u,   2u,   7u,   8u,   9u,   15u,  16u,  17u,  31u,   33u,  96u,
                              100u, 127u, 129u, 200u, 256u, 300u, 784u, 960u, 1537u, 4096u}) {
    const Metric metric = seed % 2 == 0 ? Metric::l2 : Metric::ip;
    check(metric, Kind::normal, d > 500 ? scaled(400, 24) : scaled(1000, 120), d, 6, scaled(21, 9), 7, 3, 0, ++seed);
  }
}

TEST_CASE("every k and nprobe gives the oracle's results on a GPU", "[gpu]") {
  if (!have_device()) return;
  std::uint64_t seed = 200;
  for (const std::size_t k : {1u, 2u, 20u, 100u, 129u, 500u, 513u, 2048u}) {
    const std::size_t n = scaled(5000, k + 300), nq = scaled(9, 2);
    check(Metric::l2, Kind::normal, n, 24, 40, nq, k, 1 + k % 17, k % 3 == 0 ? 1234 : 0, ++seed);
    check(Metric::ip, Kind::duplicates, n, 16, 3, nq, k, 3, 0, ++seed);
  }
  check(Metric::l2, Kind::normal, 100, 8, 1, scaled(300, 80), 5, 1, 0, ++seed);
  check(Metric::l2, Kind::normal, 1, 8, 2, 3, 5, 1, 0, ++seed);
}

TEST_CASE("many queries over many lists give the oracle's results on a GPU", "[gpu]") {
  if (!have_device()) return;
  const std::size_t n = scaled(20000, 1000), nq = scaled(700, 100);
  check(Metric::l2, Kind::normal, n, 32, scaled(200, 40), nq, 10, 12, 0, 301);
  check(Metric::ip, Kind::clustered, n, 32, scaled(50, 25), nq, 10, 12, 0, 302);
}

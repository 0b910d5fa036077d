// Rows that were removed from a corpus, and rows that a filter hides.

#include <algorithm>
#include <numeric>

#include "gpu/gpu_fixture.h"
#include "gpu/row_sets.h"
#include "support/catch.hpp"

namespace {

using namespace ivf;
using namespace ivf::support;
using shapes::Kind;

struct Setting {
  SearchMode mode;
  detail::gpu::Tuning tuning;
};

std::vector<Setting> settings() {
  std::vector<Setting> all = {{SearchMode::matrix, {}}, {SearchMode::csr, {}}};
  detail::gpu::Tuning rounds;
  rounds.query_tile = 16;
  rounds.first_rows = 64;
  rounds.round_growth = 4;
  all.push_back({SearchMode::csr, rounds});
  rounds.query_tile = 64;
  all.push_back({SearchMode::csr, rounds});
  return all;
}

/// Searches for which some rows are removed, and some of the others hidden.
void check(Metric metric, Kind kind, std::size_t d, std::size_t segments, double removed_share, double hidden_share,
           std::uint64_t max_codes, std::uint64_t seed) {
  shapes::Random random(seed);
  const std::size_t n = 700, nlist = 9, nprobe = 5, nq = 13, k = 12;
  std::vector<std::int32_t> list_of(n);
  for (auto& list : list_of) list = static_cast<std::int32_t>(random.below(nlist - 1));
  const ListedRows rows(metric, shapes::matrix(kind, n, d, random), d, {}, list_of, nlist, segments);
  const std::vector<float> queries = shapes::matrix(kind, nq, d, random);
  const auto some = [&](double share) {
    std::vector<bool> set(n);
    for (std::size_t i = 0; i < n; ++i) set[i] = static_cast<double>(random.below(1000)) < share * 1000;
    return set;
  };
  // One list loses all of its rows.
  std::vector<bool> removed = some(removed_share), hidden = some(hidden_share);
  for (std::size_t i = 0; i < n; ++i) {
    if (removed_share > 0 && list_of[i] == 3) removed[i] = true;
    if (removed[i]) hidden[i] = true;
  }
  const RowSets removed_sets(rows, n, segments, removed), hidden_sets(rows, n, segments, hidden);
  detail::Corpus corpus = rows.corpus();
  if (removed_share > 0) {
    for (std::size_t s = 0; s < segments; ++s) corpus.segments[s].removed = removed_sets.views()[s];
  }
  auto device = engine().load(corpus, nullptr);
  REQUIRE(device->rows() == static_cast<std::uint64_t>(std::count(removed.begin(), removed.end(), false)));
  REQUIRE(device->bytes() == detail::gpu::Engine::bytes_needed(corpus));
  const auto all = engine().hide(*device, std::vector<std::span<const std::uint64_t>>(segments), nullptr);
  const auto some_of_them = engine().hide(*device, hidden_sets.views(), nullptr);
  device.reset();  // What was made of it needs it no longer.

  std::vector<std::int32_t> probes(nq * nprobe), every_list(nlist);
  for (auto& list : probes) list = static_cast<std::int32_t>(random.below(nlist + 1)) - 1;
  for (std::size_t q = 0; q < nq; ++q) {  // No list twice.
    auto* of = &probes[q * nprobe];
    for (std::size_t r = 1; r < nprobe; ++r) {
      if (std::find(of, of + r, of[r]) != of + r) of[r] = -1;
    }
  }
  std::iota(every_list.begin(), every_list.end(), 0);
  for (const bool filtered : {false, true}) {
    for (const bool whole : {false, true}) {
      const auto expected = [&](std::size_t q) {
        const auto positions =
            whole ? rows.candidates(every_list.data(), nlist, 0) : rows.candidates(&probes[q * nprobe], nprobe, 0);
        std::vector<std::size_t> found;
        std::uint64_t count = 0;
        for (const std::size_t i : positions) {
          if (removed[i]) continue;
          if (max_codes != 0 && count++ == max_codes) break;
          if (!filtered || !hidden[i]) found.push_back(i);
        }
        return oracle::topk(metric, &queries[q * d], rows.rows(), found, k);
      };
      for (const Setting& setting : settings()) {
        INFO(shapes::name(kind) << " d " << d << " segments " << segments << " removed " << removed_share << " hidden "
                                << hidden_share << " max_codes " << max_codes << " filtered " << filtered << " whole "
                                << whole << " mode " << static_cast<int>(setting.mode) << " tile "
                                << setting.tuning.query_tile);
        Found found(nq, k);
        detail::gpu::SearchOptions options;
        options.k = k;
        options.max_codes = max_codes;
        options.mode = setting.mode;
        options.tuning = setting.tuning;
        engine().topk(filtered ? *some_of_them : *all, {queries.data(), nq, 0, false},
                      whole ? detail::gpu::ProbeLists{} : detail::gpu::ProbeLists{probes.data(), nprobe, false},
                      options, found.results(), nullptr);
        for (std::size_t q = 0; q < nq; ++q) REQUIRE(difference(found, q, expected(q)) == "");
      }
    }
  }
}

}  // namespace

TEST_CASE("rows that were removed or hidden are not found on a GPU, and only removed ones do not count", "[gpu]") {
  if (!have_device()) return;
  std::uint64_t seed = 400;
  for (const Metric metric : {Metric::l2, Metric::ip}) {
    check(metric, Kind::normal, 20, 1, 0.3, 0.5, 0, ++seed);
    check(metric, Kind::normal, 33, 3, 0.3, 0.5, 100, ++seed);
    check(metric, Kind::normal, 8, 2, 0, 0.97, 0, ++seed);
    check(metric, Kind::duplicates, 16, 2, 0.1, 0.2, 77, ++seed);
    check(metric, Kind::huge, 5, 2, 0.2, 0.3, 0, ++seed);
    check(metric, Kind::normal, 3, 2, 1, 0, 0, ++seed);  // Nothing is left.
    check(metric, Kind::tiny, 12, 1, 0, 1, 30, ++seed);  // Everything is hidden.
  }
}

TEST_CASE("a filter of another corpus is refused", "[gpu]") {
  if (!have_device()) return;
  const ListedRows rows(Metric::l2, {1, 2, 3, 4}, 2, {}, {0, 0}, 1, 1);
  const std::vector<std::uint64_t> words(2);
  const auto message = [&](const std::vector<std::span<const std::uint64_t>>& sets) {
    try {
      engine().hide(rows.device(), sets, nullptr);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  REQUIRE(message({}) == "expected a set of hidden rows for each of 1 segments, found 0");
  REQUIRE(message({words}) == "expected a set of hidden rows of 1 words for segment 0, found 2");
}

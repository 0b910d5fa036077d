// One list a hundred times as large as the mean: the results do not depend on how its scan is cut and handed out, and
// what is handed out is small enough that no thread waits for another.

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "engine_fixture.h"
#include "search/plan.h"
#include "support/address_space_limit.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

namespace {

constexpr std::size_t nlist = 200;
constexpr std::size_t large = 77;  ///< The list with half of all rows: 100 times the mean.

std::vector<std::uint64_t> skewed_lists(std::uint64_t rows_of_others) {
  std::vector<std::uint64_t> rows(nlist, rows_of_others);
  rows[large] = rows_of_others * (nlist - 1);
  return rows;
}

/// Lists apart from each other by their first dimension, and queries whose nearest list is the large one or a
/// neighbour.
Scene skewed_scene(std::size_t d) {
  shapes::Random random(11);
  Scene scene;
  scene.d = d;
  scene.nlist = nlist;
  scene.centroids.assign(nlist * scene.d, 0);
  for (std::size_t l = 0; l < nlist; ++l) scene.centroids[l * scene.d] = 100 * static_cast<float>(l);
  const auto add_near = [&](std::vector<float>& vectors, std::size_t list) {
    for (std::size_t i = 0; i < scene.d; ++i) vectors.push_back(scene.centroids[list * scene.d + i] + random.normal());
  };
  auto left = skewed_lists(50);
  for (std::size_t rows = std::accumulate(left.begin(), left.end(), std::size_t{0}); rows > 0; --rows) {
    // Rows of the large list lie between those of others, as they would come.
    std::size_t list = random.below(2) == 0 ? large : random.below(nlist);
    while (left[list] == 0) list = (list + 1) % nlist;
    --left[list];
    add_near(scene.rows, list);
  }
  for (std::size_t q = 0; q < 40; ++q) add_near(scene.queries, q % 3 == 0 ? large + 1 : large);
  scene.prepare();
  return scene;
}

/// When threads take tasks in order, each the next one as soon as it is free: the time of the last, in rows x queries.
std::uint64_t time_of_last(const std::vector<detail::ScanTask>& tasks, std::size_t threads) {
  std::vector<std::uint64_t> busy(threads, 0);
  for (const auto& task : tasks) {
    const auto first_free = std::min_element(busy.begin(), busy.end());
    *first_free += (task.last_row - task.first_row) * (task.last_member - task.first_member);
  }
  return *std::max_element(busy.begin(), busy.end());
}

}  // namespace

TEST_CASE("a list 100 times the mean: the same results from every level, mode, number of threads and batch") {
  // Few enough bytes to be scanned by every thread for its own queries, and enough for tasks that threads share.
  const std::size_t d = GENERATE(std::size_t{9}, std::size_t{33});
  if (kSanitized && d != 33) return;
  const Scene scene = skewed_scene(d);
  const oracle::InvertedFile lists(scene.metric, scene.stored(), scene.stored_centroids());
  REQUIRE(lists.lists()[large].size() * nlist == 100 * scene.n());
  SearchParams params;
  params.k = 20;
  params.nprobe = 6;
  std::vector<std::vector<oracle::Hit>> expected;
  for (std::size_t q = 0; q < scene.nq(); ++q) {
    const auto candidates = lists.candidates(scene.stored_query(q), params.nprobe, 0);
    expected.push_back(oracle::topk(scene.metric, scene.stored_query(q), scene.stored(), candidates, params.k));
  }
  for (const auto& level : levels()) {
    const ForcedLevel forced(level);
    const auto index = scene.ivf(3);  // The large list lies in three segments.
    for (const SearchMode mode : {SearchMode::csr, SearchMode::matrix}) {
      for (const unsigned threads : {1u, 3u, 16u}) {
        params.mode = mode;
        params.threads = threads;
        params.max_memory = threads == 3 ? 20000 : 0;  // Several batches, and one.
        const auto result = index.search(scene.query_view(), params);
        INFO(fmt::format("level {}, mode {}, {} threads", level, static_cast<int>(mode), threads));
        CHECK(result.stats.lists_scanned + result.stats.lists_pruned == scene.nq() * params.nprobe);
        for (std::size_t q = 0; q < scene.nq(); ++q) {
          const std::string wrong = difference(result, q, expected[q]);
          if (!wrong.empty()) FAIL("query " << q << ": " << wrong);
        }
      }
    }
  }
}

TEST_CASE("a list 100 times the mean: every task is bounded, and every thread has its share") {
  const auto list_rows = skewed_lists(10000);
  constexpr std::size_t nq = 4096, nprobe = 8, member_block = 256;
  constexpr std::uint64_t row_block = 8192;
  shapes::Random random(12);
  std::vector<std::int32_t> probed(nq * nprobe);
  for (std::size_t q = 0; q < nq; ++q) {
    for (std::size_t rank = 0; rank < nprobe; ++rank)
      probed[q * nprobe + rank] =
          static_cast<std::int32_t>(rank == 0 ? large : (large + 1 + random.below(nlist - 1)) % nlist);
  }
  detail::Probes probes;
  probes.lists = probed.data();
  probes.nprobe = nprobe;
  const auto groups = detail::group_by_list(probes, nlist, 0, nq, 0, nprobe);
  const auto tasks = detail::cut_tasks(groups, list_rows, member_block, row_block);

  // Every pair of a member and a row is in one task: the areas add up, and no two tasks of a list overlap.
  std::vector<std::uint64_t> area(nlist, 0);
  std::vector<std::pair<std::uint64_t, std::size_t>> corners;
  for (const auto& task : tasks) {
    REQUIRE(task.first_row < task.last_row);
    REQUIRE(task.first_member < task.last_member);
    REQUIRE(task.last_row - task.first_row <= row_block);
    REQUIRE(task.last_member - task.first_member <= member_block);
    REQUIRE(task.last_row <= list_rows[task.list]);
    REQUIRE(task.first_member >= groups.offsets[task.list]);
    REQUIRE(task.last_member <= groups.offsets[task.list + 1]);
    area[task.list] += (task.last_row - task.first_row) * (task.last_member - task.first_member);
    corners.emplace_back(task.first_row << 8 | task.list, task.first_member);
  }
  std::uint64_t total = 0;
  for (std::size_t l = 0; l < nlist; ++l) {
    CHECK(area[l] == list_rows[l] * (groups.offsets[l + 1] - groups.offsets[l]));
    total += area[l];
  }
  std::sort(corners.begin(), corners.end());
  CHECK(std::adjacent_find(corners.begin(), corners.end()) == corners.end());

  for (const std::size_t threads : {2, 4, 16, 64}) {
    const double share = static_cast<double>(total) / static_cast<double>(threads);
    INFO(threads << " threads");
    CHECK(static_cast<double>(time_of_last(tasks, threads)) < 1.02 * share);
  }
}

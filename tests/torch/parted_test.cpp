// Indexes that kernels of ivf search on a GPU although it has no room for all rows.

#include <limits>
#include <memory>

#include "backends.h"
#include "random_cases.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

TEST_CASE("rows that a GPU has no room for are searched part by part") {
  const Scene scene = large_scene(Metric::l2, 1000, 16, 10, 8, 61);
  SearchParams params;
  params.k = 8;
  params.nprobe = 4;
  params.threads = 2;
  const auto native = scene.ivf(2);
  const auto filter = std::make_shared<const IdSet>(std::vector<IdRange>{{100, 400}});
  for_each_backend([&](const Tested& tested) {
    if (tested.torch() || !tested.on_device()) return;
    INFO(tested.name);
    const Setting memory("IVF_DEVICE_MEMORY", "40000");  // A third of what the rows take.
    auto index = scene.ivf(2, tested.placement);
    for (const std::uint64_t max_codes : {0, 333}) {
      for (const bool filtered : {false, true}) {
        params.max_codes = max_codes;
        params.filter = filtered ? Filter{filter, true, FilterPlan::scan} : Filter{};
        for (const SearchMode mode : {SearchMode::matrix, SearchMode::csr}) {
          INFO("max_codes " << max_codes << " filtered " << filtered << " mode " << static_cast<int>(mode));
          params.mode = mode;
          CHECK(same_results(index.search(scene.query_view(), params), native.search(scene.query_view(), params)));
        }
        const float widest = std::numeric_limits<float>::infinity();
        CHECK(index.range_search(scene.query_view(), widest, params).ids ==
              native.range_search(scene.query_view(), widest, params).ids);
      }
    }
    params.filter = {};
    CHECK(
        same_results(index.search_exact(scene.query_view(), params), native.search_exact(scene.query_view(), params)));
    index.remove_ids(IdSet(std::vector<IdRange>{{0, 300}}));
    auto rest = scene.ivf(2);
    rest.remove_ids(IdSet(std::vector<IdRange>{{0, 300}}));
    CHECK(same_results(index.search(scene.query_view(), params), rest.search(scene.query_view(), params)));
  });
}

TEST_CASE("what rows may take on a GPU is told by a number, and has to hold some of them") {
  const Scene scene = large_scene(Metric::ip, 300, 8, 4, 3, 62);
  for_each_backend([&](const Tested& tested) {
    if (tested.torch() || !tested.on_device()) return;
    auto index = scene.ivf(1);
    {
      const Setting memory("IVF_DEVICE_MEMORY", "10");
      CHECK_THAT(error_of_to(index, tested.placement), Contains("bytes of device memory for parts of "));
    }
    const Setting memory("IVF_DEVICE_MEMORY", "10M");
    CHECK(error_of_to(index, tested.placement) == "misuse: IVF_DEVICE_MEMORY: expected a number of bytes, found '10M'");
    CHECK(index.placement().device == "cpu");
  });
}

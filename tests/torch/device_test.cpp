// Devices that are there and devices that are not: what is found, what it is told when memory runs out, and what the
// test device saw of the work. Tests of the test device do nothing where LibTorch is not there.

#include <algorithm>
#include <fstream>
#include <memory>
#include <vector>

#include "backends.h"
#include "random_cases.h"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;
using namespace ivf::support;

namespace {

SearchParams params_of(SearchMode mode) {
  SearchParams params;
  params.k = 10;
  params.nprobe = 4;
  params.mode = mode;
  params.threads = 2;
  return params;
}

Scene some_scene(std::uint64_t seed) { return large_scene(Metric::l2, 1200, 32, 12, 40, seed); }

/// Limits the test device's memory, in bytes.
Setting memory_limit(std::uint64_t bytes) { return {"IVF_TEST_DEVICE_MEMORY", std::to_string(bytes)}; }

std::uint64_t device_bytes() { return device_counter("ivf_test_device_bytes"); }

std::string device_names() {
  std::string names;
  for (const DeviceInfo& device : list_devices()) names += device.name + " ";
  return names;
}

/// Whether the test device is there; says so when it is not.
bool device_missing() {
  if (test_device()) return false;
  WARN("the test device is not here, and not tested");
  return true;
}

}  // namespace

TEST_CASE("a device that is not there is refused with what was found") {
  const Scene scene = some_scene(51);
  auto index = scene.ivf();
  const auto expected = index.search(scene.query_view(), params_of(SearchMode::csr));
  const bool module = has_torch_module();
  for (const std::string name : {"cuda:126", "rocm:126", "dml:126"}) {
    INFO(name << "; there are " << device_names());
    const std::string error = error_of_to(index, {name, BackendChoice::automatic, DeviceType::float32, {}});
    CHECK_THAT(error, Contains("misuse: expected the "));
    if (module) {
      CHECK_THAT(error, Contains("misuse: expected the device " + name + ", found cpu"));
    } else {
      CHECK_THAT(error, Contains("without it --device cpu works"));
    }
    CHECK(index.placement().device == "cpu");
    CHECK(same_results(index.search(scene.query_view(), params_of(SearchMode::csr)), expected));
  }
  CHECK_THAT(error_of_to(index, {"gpu", BackendChoice::automatic, DeviceType::float32, {}}),
             Contains("misuse: expected a device of cpu, cuda[:N|:all], rocm[:N|:all] or dml[:N], found 'gpu'"));
  CHECK_THAT(error_of_to(index, {"cpu", BackendChoice::native, DeviceType::bfloat16, {}}),
             Contains("misuse: expected float32 for the native CPU backend"));
  CHECK_THAT(error_of_to(index, {"cuda", BackendChoice::native, DeviceType::float16, {}}),
             Contains("misuse: expected float32 for the native cuda backend"));
}

TEST_CASE("a module that is missing or broken is told from one that is there") {
  const TemporaryDirectory directory;
  const Setting modules("IVF_MODULE_DIR", directory.path().string());
  const auto open = [] { open_module("ivf_torch.so", "version", "symbol", "do this"); };
  CHECK_FALSE(has_torch_module());
  CHECK(error_of(open) ==
        "misuse: expected the module ivf_torch.so in " + directory.path().string() + ", found none; do this");
  std::ofstream(directory.file("ivf_torch.so")) << "no library";
  CHECK(has_torch_module());
  CHECK_THAT(error_of(open), Contains("failed: " + directory.file("ivf_torch.so") + ": cannot be opened: "));
}

TEST_CASE("a library that is no module is refused") {
  if (device_missing()) return;
  CHECK_THAT(error_of([] { open_module("ivf_torch.so", "no_such_symbol", "ivf_torch_module", ""); }),
             Contains("ivf_torch.so: expected a module of ivf, found a library without it"));
}

TEST_CASE("a plugin brings its devices, by option or by the environment") {
  if (device_missing()) return;
  const Placement placement = *test_device();
  auto index = some_scene(52).ivf();
  Placement none = placement;
  none.torch_plugin = "/nowhere/plugin.so";
  CHECK_THAT(error_of_to(index, none), Contains("failed: /nowhere/plugin.so: expected a library that brings LibTorch"));
  none.torch_plugin.clear();
  // A plugin stays for the life of the process: it may be there when several tests run in one.
  if (device_names().find("dml") == std::string::npos) {
    CHECK_THAT(error_of_to(index, none), Contains("--torch-plugin"));
  }
  {
    const Setting plugin("IVF_TORCH_PLUGIN", placement.torch_plugin);
    index.to(none);
    CHECK(index.device().name == "dml:0");
  }
  std::string problem;
  const auto devices = list_devices(placement.torch_plugin, &problem);
  CHECK(problem.empty());
  for (const char* name : {"cpu", "dml:0", "dml:1"}) {
    CHECK(std::count_if(devices.begin(), devices.end(),
                        [&](const DeviceInfo& device) { return device.name == name; }) >= 1);
  }
  CHECK(devices.front().backend == "native");
  Placement native = placement;
  native.backend = BackendChoice::native;
  CHECK_THAT(error_of_to(index, native), Contains("misuse: expected a device with native kernels, found dml"));
  Placement third = placement;
  third.device = "dml:2";
  // Between them stand the GPUs of this machine, if it has any.
  CHECK_THAT(error_of_to(index, third), Contains("misuse: expected the device dml:2, found cpu, "));
  CHECK_THAT(error_of_to(index, third), Contains("dml:0, dml:1 (LibTorch "));
}

TEST_CASE("what a device has no room for stays where it was") {
  if (device_missing()) return;
  const Scene scene = some_scene(53);
  auto index = scene.ivf();
  const auto expected = index.search(scene.query_view(), params_of(SearchMode::csr));
  const auto other = scene.flat(1, *test_device());
  const std::uint64_t held = device_bytes();
  // Too little for the first tensor, and for one of the later ones.
  for (const std::uint64_t room : {10000, 100000, 165000}) {
    const Setting limit = memory_limit(held + room);
    const std::string error = error_of_to(index, *test_device());
    INFO("room for " << room << " bytes");
    CHECK_THAT(error, Contains("failed: dml:0: "));
    CHECK_THAT(error, Contains("of " + std::to_string(held + room) + " in use"));
    CHECK(device_bytes() == held);
    CHECK(index.placement().device == "cpu");
    CHECK(same_results(index.search(scene.query_view(), params_of(SearchMode::csr)), expected));
  }
  index.to(*test_device());
  CHECK(same_results(index.search(scene.query_view(), params_of(SearchMode::csr)), expected));
}

TEST_CASE("a search that a device has no room for fails, and the next one works") {
  if (device_missing()) return;
  const Scene scene = some_scene(54);
  const auto expected = scene.ivf().search(scene.query_view(), params_of(SearchMode::csr));
  auto index = scene.ivf(1, *test_device());
  index.search(scene.query_view(), params_of(SearchMode::csr));  // What is there only from the first search on.
  for (const SearchMode mode : {SearchMode::matrix, SearchMode::csr}) {
    const std::uint64_t held = device_bytes();
    {
      const Setting limit = memory_limit(held + 2000);
      const std::string error = error_of([&] { index.search(scene.query_view(), params_of(mode)); });
      CHECK_THAT(error, Contains("failed: dml:0: "));
      CHECK_THAT(error, Contains("out of memory"));
      CHECK_THAT(error, Contains("--max-memory"));
      CHECK_THAT(error_of([&] { index.assign(scene.row_view()); }), Contains("failed: dml:0: "));
      CHECK_THAT(error_of([&] { index.range_search(scene.query_view(), 1, params_of(mode)); }),
                 Contains("failed: dml:0: "));
    }
    CHECK(device_bytes() == held);
    CHECK(same_results(index.search(scene.query_view(), params_of(mode)), expected));
  }
}

TEST_CASE("rows that a device has no room for are searched once there is room") {
  if (device_missing()) return;
  const Scene scene = some_scene(55);
  auto index = scene.empty_ivf(*test_device());
  scene.add_to(index, 0, 100);
  {
    const Setting limit = memory_limit(device_bytes() + 60000);
    RunOptions options;
    options.max_memory = 20000;
    const std::string add = error_of([&] { index.add(scene.row_view().slice(100, 1100), options); });
    const std::string search = error_of([&] { index.search(scene.query_view(), params_of(SearchMode::matrix)); });
    CHECK_THAT(add + search, Contains("failed: dml:0: "));
  }
  if (index.size() == 100) scene.add_to(index, 100, 1100);
  CHECK(same_results(index.search(scene.query_view(), params_of(SearchMode::matrix)),
                     scene.ivf(2).search(scene.query_view(), params_of(SearchMode::matrix))));
}

TEST_CASE("nothing stays on a device that an index has left") {
  if (device_missing()) return;
  const Scene scene = some_scene(56);
  auto other = scene.flat(1, *test_device());  // Keeps the plugin's counters reachable, and some memory in use.
  const std::uint64_t before = device_bytes();
  {
    auto index = scene.ivf(3, *test_device());
    index.search(scene.query_view(), params_of(SearchMode::csr));
    CHECK(device_bytes() >= before + scene.rows.size() * sizeof(float) / 2);
    index.to({});
    CHECK(device_bytes() == before);
    Placement second = *test_device();
    second.device = "dml:1";
    index.to(second);
    CHECK(index.device().name == "dml:1");
    CHECK(same_results(index.search(scene.query_view(), params_of(SearchMode::csr)),
                       scene.ivf().search(scene.query_view(), params_of(SearchMode::csr))));
    CHECK(device_bytes() == before);
    index.to(*test_device());
    scene.add_to(index, 0, 200);
    index.search(scene.query_view(), params_of(SearchMode::matrix));
    index.range_search(scene.query_view(), 3, params_of(SearchMode::matrix));
    index.assign(scene.row_view());
    const std::uint64_t all = device_bytes();
    index.remove_ids(IdSet(std::vector<IdRange>{{0, 99}}));
    SearchParams filtered = params_of(SearchMode::matrix);
    filtered.filter = {std::make_shared<const IdSet>(std::vector<IdRange>{{150, 300}}), true, FilterPlan::scan};
    index.search(scene.query_view(), filtered);
    CHECK(device_bytes() < all);  // Without removed rows, and without the filter when the search is done.
  }
  CHECK(device_bytes() == before);
}

TEST_CASE("the host waits for a device as often as is reported, which is not often") {
  if (device_missing()) return;
  for (const bool float64 : {true, false}) {
    const Setting setting("IVF_TEST_DEVICE_FLOAT64", float64 ? "1" : "0");
    const Scene scene = some_scene(57);
    const auto ivf = scene.ivf(1, *test_device());
    const auto flat = scene.flat(1, *test_device());
    ivf.search(scene.query_view(), params_of(SearchMode::csr));
    std::vector<idx_t> ids;
    for (idx_t id = 1; id < static_cast<idx_t>(scene.n()); id += 2) ids.push_back(id);
    const auto odd = std::make_shared<const IdSet>(ids);
    for (const Index* index : {static_cast<const Index*>(&ivf), static_cast<const Index*>(&flat)}) {
      for (const SearchMode mode : {SearchMode::matrix, SearchMode::csr}) {
        for (const bool filtered : {false, true}) {
          SearchParams params = params_of(mode);
          if (filtered) params.filter = {odd, true, FilterPlan::scan};
          const std::uint64_t before = device_counter("ivf_test_device_waits");
          const auto stats = index->search(scene.query_view(), params).stats;
          const std::uint64_t waits = device_counter("ivf_test_device_waits") - before;
          INFO("float64 " << float64 << " flat " << (index == &flat) << " mode " << static_cast<int>(mode)
                          << " filtered " << filtered << " queries widened " << stats.queries_widened);
          CHECK(waits == stats.host_syncs);
          CHECK(waits >= 1);
          if (stats.queries_widened == 0) CHECK(waits <= 4);
        }
      }
    }
  }
}

TEST_CASE("a search keeps to the memory that it is given on a device") {
  if (device_missing()) return;
  const Scene scene = large_scene(Metric::l2, 5000, 32, 12, 300, 58);
  const auto index = scene.ivf(1, *test_device());
  index.search(scene.query_view(), params_of(SearchMode::csr));
  for (const SearchMode mode : {SearchMode::matrix, SearchMode::csr}) {
    std::uint64_t unlimited = 0;
    for (const std::uint64_t memory : {std::uint64_t{1} << 30, std::uint64_t{16} << 20, std::uint64_t{4} << 20}) {
      const std::uint64_t held = device_bytes();
      device_counter("ivf_test_device_peak");
      SearchParams params = params_of(mode);
      params.max_memory = memory;
      index.search(scene.query_view(), params);
      const std::uint64_t used = device_counter("ivf_test_device_peak") - held;
      INFO("mode " << static_cast<int>(mode) << ": " << used << " bytes of " << memory);
      CHECK(used <= memory);
      if (unlimited == 0) unlimited = used;
      CHECK(used <= unlimited);
    }
  }
}

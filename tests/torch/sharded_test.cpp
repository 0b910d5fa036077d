// All GPUs of a host as one device. What a backend has to do is tested for it with the others (backends.cpp); this is
// what is its own.

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "backends.h"
#include "backends/torch/gpu_workers.h"
#include "engine_fixture.h"
#include "ivf/index.hpp"
#include "support/catch.hpp"

namespace {

using namespace ivf;
using namespace ivf::support;

/// The placement on all devices, where there are several.
std::optional<Placement> all_devices() {
  for (const Tested& tested : tested_backends()) {
    if (tested.placement.device.ends_with(":all")) return tested.placement;
  }
  WARN("there are no two GPUs here");
  return std::nullopt;
}

}  // namespace

TEST_CASE("all devices are one, with its name and the memory of all") {
  const auto placement = all_devices();
  if (!placement) return;
  IndexFlat index(4, Metric::l2);
  index.to(*placement);
  const DeviceInfo all = index.device();
  CHECK(all.name == placement->device);
  CHECK(all.backend == "native");
  CHECK_THAT(all.description, Contains(" x "));
  Placement first = *placement;
  first.device = first.device.substr(0, first.device.find(':')) + ":0";
  index.to(first);
  CHECK(all.total_memory >= 2 * index.device().total_memory);
}

TEST_CASE("fewer rows than devices are found on all devices") {
  const auto placement = all_devices();
  if (!placement) return;
  const std::vector<float> row = {1, 2, 3, 4}, query = {1, 2, 3, 5};
  IndexFlat index(4, Metric::l2);
  index.to(*placement);
  SearchParams params;
  params.k = 2;
  CHECK(index.search({query.data(), 1, 4}, params).ids == std::vector<idx_t>{-1, -1});
  index.add({row.data(), 1, 4});
  const SearchResult found = index.search({query.data(), 1, 4}, params);
  CHECK(found.ids == std::vector<idx_t>{0, -1});
  CHECK(found.distances[0] == 1.0f);
  CHECK(found.stats.rows_scanned == 1);
}

TEST_CASE("LibTorch's operations are refused all devices at once") {
  const auto placement = all_devices();
  if (!placement) return;
  for (const bool half : {false, true}) {
    Placement torch = *placement;
    torch.backend = half ? BackendChoice::automatic : BackendChoice::torch;
    if (half) torch.dtype = DeviceType::float16;
    IndexFlat index(4, Metric::l2);
    // Of the emulated devices LibTorch knows nothing.
    const std::string message = error_of([&] { index.to(torch); });
    CHECK((message.find("expected one device for LibTorch's operations, found " + torch.device) != std::string::npos ||
           message.find("expected the device " + torch.device + ", found cpu") != std::string::npos));
  }
}

TEST_CASE("every device's thread is waited for, and what the first throws is thrown") {
  const detail::torch_backend::Workers workers(3);
  std::vector<std::thread::id> threads(3);
  workers.on_each([&](std::size_t device) { threads[device] = std::this_thread::get_id(); });
  CHECK(threads[0] == std::this_thread::get_id());
  CHECK((threads[1] != threads[0] && threads[2] != threads[0] && threads[1] != threads[2]));
  std::atomic<int> ended = 0;
  const auto fail = [&](std::size_t device) {
    if (device == 2) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ++ended;
    if (device != 0) throw std::runtime_error(std::to_string(device));
  };
  std::string message;
  try {
    workers.on_each(fail);
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  CHECK(message == "1");
  CHECK(ended == 3);
}

#pragma once
/// \file
/// The backends that this machine can test, and what tests do to them.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine_fixture.h"

namespace ivf::support {

/// A variable of the environment for the length of a scope.
class Setting {
 public:
  Setting(std::string name, const std::string& value);
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;
  ~Setting();

 private:
  std::string name_;
  std::optional<std::string> before_;
};

/// A backend under test.
struct Tested {
  std::string name;
  Placement placement;
  bool test_device = false;
  bool float64 = true;  ///< Of the test device, which can be told to have none.

  /// Somewhere else than on the native CPU backend.
  bool on_device() const noexcept { return name != "native"; }
  bool torch() const noexcept { return test_device || placement.backend == BackendChoice::torch; }
  /// The placement with rows kept in a type; native backends know only one.
  Placement with(DeviceType dtype) const;
  /// The types that it can keep rows in.
  std::vector<DeviceType> dtypes() const;
};

/// The native CPU backend; with a LibTorch module LibTorch's CPU, the test device with and without float64 (which is
/// what --device dml is here), and a GPU if there is one, by its native backend and by LibTorch. In a build without
/// LibTorch: the native one. With the module of emulated/: the native CPU backend and the emulated GPU.
std::vector<Tested> tested_backends();

/// A number of rows or queries; a quarter of it with the module of emulated/, whose GPU takes its time over them.
std::size_t fewer_if_emulated(std::size_t count);

/// The portable backends may be one unit of the last place off.
Tolerance tolerance_of(const Tested& tested);

/// Calls `check` with each backend, prepared for its scope.
template <class Check>
void for_each_backend(Check check) {
  for (const Tested& tested : tested_backends()) {
    const Setting float64("IVF_TEST_DEVICE_FLOAT64", tested.float64 ? "1" : "0");
    check(tested);
  }
}

constexpr DeviceType all_dtypes[] = {DeviceType::float32, DeviceType::float16, DeviceType::bfloat16};

/// The test device as `dml`, when it is built, and the module is not that of emulated/.
std::optional<Placement> test_device();
/// One of its counters (tests/torch/device/counters.h).
std::uint64_t device_counter(const char* name);

/// What to() throws, or "".
std::string error_of_to(Index& index, const Placement& placement);

}  // namespace ivf::support

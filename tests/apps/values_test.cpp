// Small parts: rounding of types, limits of control groups, text files of the kernel.

#include <cmath>
#include <fstream>
#include <limits>
#include <vector>

#include "bench/cgroup.h"
#include "bench/element_type.h"
#include "bench/files.h"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf::bench;
using ivf::DeviceType;

namespace {

float rounded(DeviceType type, float value) {
  round_to(type, {&value, 1});
  return value;
}

}  // namespace

TEST_CASE("values are rounded to the nearest of a type, ties to even") {
  CHECK(rounded(DeviceType::float32, 1.2345678f) == 1.2345678f);
  CHECK(rounded(DeviceType::float16, 1.0f + 0x1p-11f) == 1.0f);
  CHECK(rounded(DeviceType::float16, 1.0f + 3 * 0x1p-11f) == 1.0f + 0x1p-9f);
  CHECK(rounded(DeviceType::float16, -65504.0f) == -65504.0f);
  CHECK(rounded(DeviceType::float16, 65519.0f) == 65504.0f);
  CHECK(rounded(DeviceType::float16, 65520.0f) == std::numeric_limits<float>::infinity());
  CHECK(rounded(DeviceType::float16, 0x1p-24f) == 0x1p-24f);
  CHECK(rounded(DeviceType::float16, 0x1p-25f) == 0.0f);
  CHECK(rounded(DeviceType::bfloat16, 1.0f + 0x1p-8f) == 1.0f);
  CHECK(rounded(DeviceType::bfloat16, 1.0f + 3 * 0x1p-8f) == 1.0f + 0x1p-6f);
  CHECK(std::isinf(rounded(DeviceType::bfloat16, std::numeric_limits<float>::max())));
}

TEST_CASE("values are found by their key") {
  const std::string text = "MemTotal:       24 kB\nMemTotalOther: 1\nmodel name\t: Some CPU\n";
  CHECK(value_of(text, "MemTotal") == "24 kB");
  CHECK(value_of(text, "model name") == "Some CPU");
  CHECK(value_of(text, "Mem").empty());
  CHECK(number_in("24 kB") == 24u);
  CHECK_FALSE(number_in("max").has_value());
}

TEST_CASE("control groups limit by the least of a group and its ancestors") {
  const ivf::support::TemporaryDirectory directory;
  const auto write = [&](const std::string& path, const std::string& text) {
    const std::filesystem::path file = directory.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  };
  const std::string mount = directory.path().string();
  SECTION("version 2") {
    write("a/memory.max", "1000");
    write("a/b/memory.max", "max");
    write("a/cpu.max", "max 100000");
    write("a/b/cpu.max", "150000 100000");
    const Cgroup cgroup("0::/a/b\n", mount);
    CHECK(cgroup.memory_limit() == 1000u);
    CHECK(cgroup.cpu_limit() == 1.5);
  }
  SECTION("version 1") {
    write("memory/x/memory.limit_in_bytes", "9223372036854771712");
    write("memory/memory.limit_in_bytes", "2000");
    write("cpu/x/cpu.cfs_quota_us", "-1");
    write("cpu/x/cpu.cfs_period_us", "100000");
    const Cgroup cgroup("4:memory:/x\n1:cpu,cpuacct:/x\n", mount);
    CHECK(cgroup.memory_limit() == 2000u);
    CHECK_FALSE(cgroup.cpu_limit().has_value());
  }
  SECTION("none") {
    const Cgroup cgroup("", mount);
    CHECK_FALSE(cgroup.memory_limit().has_value());
    CHECK_FALSE(cgroup.cpu_limit().has_value());
  }
}

#include "index/cpu_quota.h"

#include <filesystem>
#include <fstream>

#include "ivf/index.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;

namespace {

/// A membership file and a tree of control groups.
struct Groups {
  support::TemporaryDirectory directory;

  void write(const std::string& name, const std::string& text) const {
    const std::filesystem::path path = directory.file(name);
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << "\n";
  }
  std::optional<unsigned> cpus() const {
    return detail::cgroup_cpus(directory.file("membership"), directory.file("fs"));
  }
};

}  // namespace

TEST_CASE("cgroup v2: the smallest quota of the group and its ancestors, rounded up") {
  const Groups groups;
  groups.write("membership", "0::/a/b");
  CHECK_FALSE(groups.cpus());
  groups.write("fs/a/b/cpu.max", "max 100000");
  CHECK_FALSE(groups.cpus());
  groups.write("fs/a/cpu.max", "350000 100000");
  CHECK(groups.cpus() == 4u);
  groups.write("fs/a/b/cpu.max", "200000 100000");
  CHECK(groups.cpus() == 2u);
  groups.write("fs/cpu.max", "10000 100000");
  CHECK(groups.cpus() == 1u);
}

TEST_CASE("cgroup v2: inside a container only the root of the mount may exist") {
  const Groups groups;
  groups.write("membership", "0::/kubepods/pod1/x");
  groups.write("fs/cpu.max", "150000 100000");
  CHECK(groups.cpus() == 2u);
  groups.write("membership", "0::/");
  CHECK(groups.cpus() == 2u);
}

TEST_CASE("cgroup v1: quota and period of the cpu controller") {
  const Groups groups;
  groups.write("membership", "5:cpuset:/x\n4:cpu,cpuacct:/a\n0::/\n");
  groups.write("fs/cpuset/x/cpu.cfs_quota_us", "100000");  // Not the controller of quotas.
  CHECK_FALSE(groups.cpus());
  groups.write("fs/cpu,cpuacct/a/cpu.cfs_quota_us", "-1");
  groups.write("fs/cpu,cpuacct/a/cpu.cfs_period_us", "100000");
  CHECK_FALSE(groups.cpus());
  groups.write("fs/cpu,cpuacct/a/cpu.cfs_quota_us", "500000");
  CHECK(groups.cpus() == 5u);
  groups.write("fs/cpu/cpu.cfs_quota_us", "250000");
  groups.write("fs/cpu/cpu.cfs_period_us", "100000");
  CHECK(groups.cpus() == 3u);
}

TEST_CASE("cgroups: nonsense is no limit") {
  const Groups groups;
  CHECK_FALSE(groups.cpus());  // No membership file at all.
  groups.write("membership", "nonsense\n0::/a");
  for (const std::string text : {"", "x y", "100000", "-5 100000", "100000 0", "12x 100000"}) {
    groups.write("fs/a/cpu.max", text);
    CHECK_FALSE(groups.cpus());
  }
}

TEST_CASE("available_threads is at least one") { CHECK(available_threads() >= 1); }

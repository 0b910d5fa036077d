#pragma once
/// \file
/// How many CPUs the control groups of Linux leave to this process.

#include <optional>
#include <string>

namespace ivf::detail {

/// The smallest CPU quota (in CPUs, rounded up, at least 1) of the process's control group and its ancestors, of
/// version 1 or 2; nothing when there is no limit. `membership` is /proc/self/cgroup and `mount` /sys/fs/cgroup, except
/// in tests.
std::optional<unsigned> cgroup_cpus(const std::string& membership, const std::string& mount);

}  // namespace ivf::detail

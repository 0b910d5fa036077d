#include "index/cpu_quota.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <string_view>
#include <thread>
#include <vector>

#include "ivf/index.hpp"

namespace ivf {
namespace detail {
namespace {

/// Quota and period of one group. A version 1 quota of -1 and a version 2 quota of "max" mean no limit.
std::optional<unsigned> cpus_of(double quota, double period) {
  if (!(quota > 0) || !(period > 0)) return std::nullopt;
  const double cpus = quota / period;
  if (cpus >= 1 << 20) return std::nullopt;
  const auto whole = static_cast<unsigned>(cpus);
  return std::max(1u, whole + (static_cast<double>(whole) < cpus ? 1u : 0u));
}

std::optional<double> read_number(const std::string& path) {
  std::ifstream file(path);
  double value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

std::optional<unsigned> limit_v2(const std::string& directory) {
  std::ifstream file(directory + "/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max") return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(quota.c_str(), &end);
  return *end == '\0' ? cpus_of(value, period) : std::nullopt;
}

std::optional<unsigned> limit_v1(const std::string& directory) {
  const auto quota = read_number(directory + "/cpu.cfs_quota_us");
  const auto period = read_number(directory + "/cpu.cfs_period_us");
  return quota && period ? cpus_of(*quota, *period) : std::nullopt;
}

bool names_controller(std::string_view list, std::string_view controller) {
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    if (list.substr(begin, end - begin) == controller) return true;
    begin = end + 1;
  }
  return false;
}

/// Calls limit(directory) for the group and all its ancestors, and keeps the smallest. Inside a container the group's
/// own path may not exist below the mount; its ancestors then still do.
template <class Limit>
void visit_ancestors(const std::string& mount, std::string path, std::optional<unsigned>& smallest, Limit limit) {
  for (;;) {
    if (const auto cpus = limit(mount + path)) smallest = std::min(smallest.value_or(*cpus), *cpus);
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return;
    path.resize(slash);
  }
}

}  // namespace

std::optional<unsigned> cgroup_cpus(const std::string& membership, const std::string& mount) {
  std::optional<unsigned> smallest;
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {
    // hierarchy-ID:controller-list:path; version 2 has an empty list.
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    if (controllers.empty()) {
      visit_ancestors(mount, path, smallest, limit_v2);
      visit_ancestors(mount + "/unified", path, smallest, limit_v2);
    } else if (names_controller(controllers, "cpu")) {
      visit_ancestors(mount + "/" + controllers, path, smallest, limit_v1);
      visit_ancestors(mount + "/cpu", path, smallest, limit_v1);
    }
  }
  return smallest;
}

}  // namespace detail

unsigned available_threads() {
  unsigned allowed = std::max(1u, std::thread::hardware_concurrency());
  // The mask may be larger than a cpu_set_t; the kernel says so with EINVAL.
  for (std::size_t cpus = 1024; cpus <= (1u << 20); cpus *= 4) {
    std::vector<cpu_set_t> mask(cpus / (8 * sizeof(cpu_set_t)) + 1);
    const std::size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, mask.data()) == 0) {
      allowed = static_cast<unsigned>(std::max(1, CPU_COUNT_S(bytes, mask.data())));
      break;
    }
  }
  const auto quota = detail::cgroup_cpus("/proc/self/cgroup", "/sys/fs/cgroup");
  return quota ? std::min(allowed, *quota) : allowed;
}

}  // namespace ivf

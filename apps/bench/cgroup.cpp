#include "bench/cgroup.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "bench/files.h"

namespace ivf::bench {
namespace {

// Version 1 says "no limit" by a number of about 2^63.
constexpr std::uint64_t no_limit = std::uint64_t{1} << 60;

template <class T>
void lower(std::optional<T>& least, std::optional<T> value) {
  if (value && (!least || *value < *least)) least = value;
}

/// The path of the group of a controller. Lines are "ID:CONTROLLER,...:PATH"; version 2 names no controller.
std::optional<std::string> group_of(const std::string& membership, const std::string& controller) {
  std::istringstream lines(membership);
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::istringstream names(line.substr(first + 1, second - first - 1));
    bool match = controller.empty() && second == first + 1;
    for (std::string name; std::getline(names, name, ',');) match |= name == controller;
    if (match) return line.substr(second + 1);
  }
  return std::nullopt;
}

std::optional<double> ratio(std::optional<std::uint64_t> quota, std::optional<std::uint64_t> period) {
  if (!quota || !period || *period == 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

}  // namespace

Cgroup::Cgroup(std::string membership, std::string mount)
    : membership_(std::move(membership)), mount_(std::move(mount)) {}

Cgroup::Cgroup() : Cgroup(read_text("/proc/self/cgroup"), "/sys/fs/cgroup") {}

template <class Look>
void Cgroup::each_directory(const std::string& controller, const Look& look) const {
  std::optional<std::string> group = group_of(membership_, controller);
  if (!group) return;
  const std::string base = controller.empty() ? mount_ : mount_ + "/" + controller;
  // In a container the path may be the host's; the mount itself is then the group.
  for (std::string path = *group;; path = path.substr(0, path.rfind('/'))) {
    look(base + path);
    if (path.empty() || path == "/") break;
  }
  look(base);
}

std::optional<std::uint64_t> Cgroup::memory_limit() const {
  std::optional<std::uint64_t> least;
  const auto take = [&](const std::string& file) {
    const auto value = number_in(read_text(file));
    if (value && *value < no_limit) lower(least, value);
  };
  each_directory("", [&](const std::string& directory) { take(directory + "/memory.max"); });
  each_directory("memory", [&](const std::string& directory) { take(directory + "/memory.limit_in_bytes"); });
  return least;
}

std::optional<double> Cgroup::cpu_limit() const {
  std::optional<double> least;
  each_directory("", [&](const std::string& directory) {
    const std::string text = read_text(directory + "/cpu.max");  // "QUOTA PERIOD", or "max PERIOD".
    const auto space = text.find(' ');
    if (space != std::string::npos)
      lower(least, ratio(number_in(text), number_in(std::string_view(text).substr(space + 1))));
  });
  each_directory("cpu", [&](const std::string& directory) {
    // -1 is no number of this kind: no limit.
    lower(least, ratio(number_in(read_text(directory + "/cpu.cfs_quota_us")),
                       number_in(read_text(directory + "/cpu.cfs_period_us"))));
  });
  return least;
}

}  // namespace ivf::bench

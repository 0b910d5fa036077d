#pragma once
/// \file
/// What the control groups of Linux (versions 1 and 2) leave to this process: the least of its group and the ancestors.

#include <cstdint>
#include <optional>
#include <string>

namespace ivf::bench {

/// `membership` is the text of /proc/self/cgroup, `mount` is /sys/fs/cgroup, except in tests.
class Cgroup {
 public:
  Cgroup(std::string membership, std::string mount);
  /// Of this process.
  Cgroup();

  std::optional<std::uint64_t> memory_limit() const;  ///< Bytes.
  std::optional<double> cpu_limit() const;            ///< CPUs: quota / period.

 private:
  /// Calls `look(directory)` for the group of a controller and its ancestors; "" names version 2.
  template <class Look>
  void each_directory(const std::string& controller, const Look& look) const;

  std::string membership_, mount_;
};

}  // namespace ivf::bench

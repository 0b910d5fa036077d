#include "bench/cpu_info.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <sstream>

#include <fmt/format.h>

#include "bench/files.h"
#include "bench/json.h"
#include "bench/machine.h"
#include "ivf/index.hpp"

namespace ivf::bench {
namespace {

constexpr const char* cpu_directory = "/sys/devices/system/cpu";

Json number_or_null(const std::string& text) {
  const auto number = number_in(text);
  return number ? Json(*number) : Json();
}
Json file_text(const std::string& path) { return or_null(trimmed(read_text(path))); }
Json file_number(const std::string& path) { return number_or_null(trimmed(read_text(path))); }

/// "2048K" -> bytes.
Json cache_bytes(const std::string& text) {
  const auto number = number_in(text);
  if (!number) return nullptr;
  const std::uint64_t unit = text.find('M') != std::string::npos   ? std::uint64_t{1} << 20
                             : text.find('K') != std::string::npos ? std::uint64_t{1} << 10
                                                                   : 1;
  return *number * unit;
}

Json caches() {
  Json result = Json::array();
  for (int i = 0;; ++i) {
    const std::string directory = fmt::format("{}/cpu0/cache/index{}/", cpu_directory, i);
    const auto level = number_in(trimmed(read_text(directory + "level")));
    if (!level) return result;
    result.push_back({{"level", *level},
                      {"type", file_text(directory + "type")},
                      {"bytes", cache_bytes(trimmed(read_text(directory + "size")))},
                      {"shared_cpus", file_text(directory + "shared_cpu_list")}});
  }
}

/// What /proc/cpuinfo says of the first CPU, and how many distinct cores and sockets it lists.
class CpuInfoFile {
 public:
  CpuInfoFile() : text_(read_text("/proc/cpuinfo")) {
    std::istringstream lines(text_);
    std::string socket;
    for (std::string line; std::getline(lines, line);) {
      const auto colon = line.find(':');
      if (colon == std::string::npos) continue;
      const std::string key = trimmed(std::string_view(line).substr(0, colon));
      const std::string value = trimmed(std::string_view(line).substr(colon + 1));
      if (key == "physical id") sockets_.insert(socket = value);
      if (key == "core id") cores_.insert(fmt::format("{}/{}", socket, value));
    }
  }
  Json text(const char* key) const { return or_null(value_of(text_, key)); }
  Json number(const char* key) const { return number_or_null(value_of(text_, key)); }
  std::string flags() const {
    const std::string x86 = value_of(text_, "flags");
    return x86.empty() ? value_of(text_, "Features") : x86;
  }
  Json cores() const { return cores_.empty() ? Json() : Json(cores_.size()); }
  Json sockets() const { return sockets_.empty() ? Json() : Json(sockets_.size()); }

 private:
  std::string text_;
  std::set<std::string> cores_, sockets_;
};

/// Of the many flags, those that arithmetic can depend on.
Json arithmetic_flags(const std::string& flags) {
  static constexpr std::string_view prefixes[] = {"sse", "avx", "amx", "fma", "f16c", "asimd", "sve", "bf16", "i8mm"};
  Json result = Json::array();
  std::istringstream words(flags);
  for (std::string word; words >> word;) {
    if (std::any_of(std::begin(prefixes), std::end(prefixes), [&](auto prefix) { return word.starts_with(prefix); })) {
      result.push_back(word);
    }
  }
  return result;
}

Json frequency() {
  const std::string directory = fmt::format("{}/cpu0/cpufreq/", cpu_directory);
  return {{"governor", file_text(directory + "scaling_governor")},
          {"driver", file_text(directory + "scaling_driver")},
          {"min_khz", file_number(directory + "scaling_min_freq")},
          {"max_khz", file_number(directory + "scaling_max_freq")},
          {"current_khz", file_number(directory + "scaling_cur_freq")},
          {"no_turbo", file_number(fmt::format("{}/intel_pstate/no_turbo", cpu_directory))}};
}

Json mitigations() {
  Json result = Json::object();
  for (const char* name : {"meltdown", "spectre_v1", "spectre_v2", "mds", "retbleed", "gather_data_sampling"}) {
    result[name] = file_text(fmt::format("{}/vulnerabilities/{}", cpu_directory, name));
  }
  return result;
}

}  // namespace

Json cpu_info() {
  const CpuInfoFile file;
  const std::string flags = file.flags();
  return {
      {"model", host_cpu()},
      {"vendor", file.text("vendor_id")},
      {"family", file.number("cpu family")},
      {"model_number", file.number("model")},
      {"stepping", file.number("stepping")},
      {"microcode", file.text("microcode")},
      {"mhz", file.text("cpu MHz")},
      {"online", sysconf(_SC_NPROCESSORS_ONLN)},
      {"cores", file.cores()},
      {"sockets", file.sockets()},
      {"smt_active", file_number(fmt::format("{}/smt/active", cpu_directory))},
      {"numa_nodes", file_text("/sys/devices/system/node/online")},
      {"affinity", or_null(value_of(read_text("/proc/self/status"), "Cpus_allowed_list"))},
      {"virtual_machine", flags.empty() ? Json() : Json((" " + flags + " ").find(" hypervisor ") != std::string::npos)},
      {"caches", caches()},
      {"frequency", frequency()},
      {"flags", arithmetic_flags(flags)},
      {"mitigations", mitigations()}};
}

Json isa_info() {
  const char* forced = std::getenv("IVF_ISA");
  Json result{{"levels", isa_levels()}, {"forced", forced ? Json(forced) : Json()}};
  try {
    // The level is chosen at the first use: ask for a search.
    const float row = 1;
    IndexFlat index(1, Metric::l2);
    index.add({&row, 1, 1});
    SearchParams params;
    params.k = 1;
    params.threads = 1;
    result["used"] = index.search({&row, 1, 1}, params).stats.isa;
  } catch (const Error& error) {
    result["used"] = nullptr;
    result["problem"] = error.what();
  }
  return result;
}

}  // namespace ivf::bench

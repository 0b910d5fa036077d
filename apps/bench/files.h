#pragma once
/// \file
/// Small text files of the kernel (/proc, /sys): read as a whole, absent ones are empty.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ivf::bench {

std::string read_text(const std::string& path);
/// Without white space at either end.
std::string trimmed(std::string_view text);
/// The value of the first line `key: value` or `key value` of a file such as /proc/meminfo.
std::string value_of(std::string_view text, std::string_view key);
/// The whole number at the start of a text.
std::optional<std::uint64_t> number_in(std::string_view text);

}  // namespace ivf::bench

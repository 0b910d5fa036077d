#pragma once
/// \file
/// Errors and the small formats that messages and summaries share.

#include <cstdint>
#include <string>

#include <fmt/format.h>

#include "ivf/error.hpp"

namespace ivf::cli {

template <class... Args>
[[noreturn]] void misuse(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorKind::misuse, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
[[noreturn]] void failed(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorKind::failed, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
[[noreturn]] void corrupt(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorKind::corrupt, fmt::format(format, std::forward<Args>(args)...));
}

/// 1536 -> "1.5 KiB".
std::string human_bytes(std::uint64_t bytes);
/// 1234567 -> "1,234,567".
std::string grouped(std::uint64_t number);
/// Milliseconds -> "0.42 ms", "12.3 s", "4 min 5 s".
std::string human_time(double milliseconds);
/// 1 -> "1 row", 2 -> "2 rows".
std::string counted(std::uint64_t number, const char* singular, const char* plural = nullptr);

}  // namespace ivf::cli

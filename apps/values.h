#pragma once
/// \file
/// How the values of options are read. All throw Error(misuse) that names the option.

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "message.h"

namespace ivf::cli {

/// A whole number, optionally with k, M or G (powers of 1000).
std::uint64_t parse_count(std::string_view option, std::string_view text, std::uint64_t min = 0,
                          std::uint64_t max = std::numeric_limits<std::uint64_t>::max());
/// Bytes, optionally with K, M, G or T (powers of 1024), also written KB or KiB.
std::uint64_t parse_bytes(std::string_view option, std::string_view text);
double parse_number(std::string_view option, std::string_view text, double min, double max);
/// The name of a device as the library takes it; whether it is there is found out when it is used.
std::string parse_device(std::string_view option, std::string_view text);

template <class T>
using Choices = std::vector<std::pair<std::string_view, T>>;

template <class T>
T parse_choice(std::string_view option, std::string_view text, const Choices<T>& choices) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (name == text) return value;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  }
  misuse("{}: '{}' is not one of {}", option, text, names);
}

/// The name of a value that is one of the choices.
template <class T>
std::string_view choice_name(T value, const Choices<T>& choices) {
  for (const auto& [name, each] : choices) {
    if (each == value) return name;
  }
  return "unknown";
}

template <class T>
std::vector<std::string> choice_names(const Choices<T>& choices) {
  std::vector<std::string> names;
  for (const auto& choice : choices) names.emplace_back(choice.first);
  return names;
}

}  // namespace ivf::cli

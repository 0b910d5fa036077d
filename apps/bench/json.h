#pragma once
/// \file
/// Values as records hold them.

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace ivf::bench {

/// Keys stay in the order in which they are written.
using Json = nlohmann::ordered_json;

/// Nanoseconds of a time in milliseconds, millionths of a ratio: more digits would only pretend.
inline double rounded(double value) { return std::round(value * 1e6) / 1e6; }

inline Json rounded(const std::vector<double>& values) {
  Json array = Json::array();
  for (const double value : values) array.push_back(rounded(value));
  return array;
}

/// Null for what is not known.
inline Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }
inline Json or_null(std::uint64_t number) { return number == 0 ? Json() : Json(number); }
inline Json or_null(std::optional<double> value) { return value ? Json(rounded(*value)) : Json(); }
inline Json or_null(std::optional<std::uint64_t> value) { return value ? Json(*value) : Json(); }

}  // namespace ivf::bench

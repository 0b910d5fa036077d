#include "values.h"

#include <charconv>
#include <cmath>
#include <optional>

#include "ivf/device.hpp"

namespace ivf::cli {
namespace {

/// Splits the digits in front from the rest.
std::optional<std::uint64_t> leading_number(std::string_view text, std::string_view& rest) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return {};
  rest = std::string_view(end, static_cast<std::size_t>(text.data() + text.size() - end));
  return value;
}

std::optional<std::uint64_t> times(std::uint64_t value, std::uint64_t factor) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(value, factor, &product)) return {};
  return product;
}

}  // namespace

std::uint64_t parse_count(std::string_view option, std::string_view text, std::uint64_t min, std::uint64_t max) {
  std::string_view suffix;
  if (!text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos &&
      !leading_number(text, suffix)) {
    misuse("{}: {} is too large, the most is {}", option, text, max);
  }
  std::optional<std::uint64_t> value = leading_number(text, suffix);
  if (value) {
    if (suffix == "k" || suffix == "K") {
      value = times(*value, 1'000);
    } else if (suffix == "M") {
      value = times(*value, 1'000'000);
    } else if (suffix == "G") {
      value = times(*value, 1'000'000'000);
    } else if (!suffix.empty()) {
      value.reset();
    }
  }
  if (!value) misuse("{}: '{}' is not a whole number (k, M and G may follow it: 10k is 10000)", option, text);
  if (*value < min) misuse("{}: {} is too small, the least is {}", option, text, min);
  if (*value > max) misuse("{}: {} is too large, the most is {}", option, text, max);
  return *value;
}

std::uint64_t parse_bytes(std::string_view option, std::string_view text) {
  std::string_view suffix;
  std::optional<std::uint64_t> value = leading_number(text, suffix);
  if (value && !suffix.empty()) {
    static constexpr std::string_view letters = "KMGT";
    const auto power = letters.find(suffix.front() == 'k' ? 'K' : suffix.front());
    const std::string_view tail = suffix.substr(1);
    if (power == std::string_view::npos || (!tail.empty() && tail != "B" && tail != "iB")) {
      value.reset();
    } else {
      value = times(*value, std::uint64_t{1} << (10 * (power + 1)));
    }
  }
  if (!value) misuse("{}: '{}' is not a size: write bytes or a number with K, M, G or T, as in 512M", option, text);
  if (*value < (1u << 20)) misuse("{}: {} is too small, the least is 1M", option, text);
  return *value;
}

double parse_number(std::string_view option, std::string_view text, double min, double max) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    misuse("{}: '{}' is not a number", option, text);
  }
  if (value < min || value > max) misuse("{}: {} is not between {} and {}", option, text, min, max);
  return value;
}

std::string parse_device(std::string_view option, std::string_view text) {
  try {
    DeviceName::parse(text);
  } catch (const Error& error) {
    misuse("{}: {}", option, error.what());
  }
  return std::string(text);
}

}  // namespace ivf::cli

#pragma once
/// \file
/// The options that name filters of a search.

#include <optional>
#include <string>

#include "ivf/search.hpp"
#include "options.h"

namespace ivf::cli {

/// --filter, --filter-not and --filter-plan.
struct FilterOptions {
  std::optional<std::string> allowed, forbidden;
  FilterPlan plan = FilterPlan::automatic;

  void define(OptionSet& options);
  bool any() const noexcept { return allowed || forbidden; }
  /// What was given, as one text.
  std::string spec() const { return allowed.value_or(forbidden.value_or("")); }
  bool forbids() const noexcept { return forbidden.has_value(); }
};

}  // namespace ivf::cli

#pragma once
/// \file
/// Results of a search held against an exact one.

#include <string>

#include "ivf/search.hpp"
#include "quality.h"

namespace ivf::cli {

class Verification {
 public:
  Verification(Metric metric, std::size_t k) : larger_is_nearer_(metric != Metric::l2), recall_(k) {}

  /// `complete`: all rows were scanned, so that both must agree bit for bit. Otherwise rows may be missing; but what is
  /// nearer than the last exact result must be one of them, bit for bit.
  void add(std::uint64_t first_query, const SearchResult& found, const SearchResult& exact, bool complete);

  double recall() const noexcept { return recall_.value(); }
  bool sound() const noexcept { return complaint_.empty(); }
  /// The first difference that must not be.
  const std::string& complaint() const noexcept { return complaint_; }

 private:
  bool larger_is_nearer_;
  RecallMeter recall_;
  std::string complaint_;
};

}  // namespace ivf::cli

#pragma once
/// \file
/// The names that options, summaries and records use.

#include "ivf/search.hpp"

namespace ivf::bench {

const char* metric_name(Metric metric) noexcept;  ///< "l2", "ip", "cosine"
const char* mode_name(SearchMode mode) noexcept;  ///< "auto", "matrix", "csr"

}  // namespace ivf::bench

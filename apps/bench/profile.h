#pragma once
/// \file
/// Where the time of a search goes, beside what the machine could do at best.

#include <nlohmann/json.hpp>

#include "bench/measure.h"

namespace ivf::bench {

/// What this machine reaches with nothing else to do: memory read with all threads, arithmetic of the instruction-set
/// level on registers. Measured.
DevicePeak machine_peak(const std::string& isa, unsigned threads);

/// The profile of the median run: phases in milliseconds a batch and as shares of the whole, work a query, and
/// rates with their share of the peak.
nlohmann::ordered_json make_profile(const Measurement& measurement, const SearchSettings& settings, std::size_t batches,
                                    std::size_t dim, std::size_t nlist, const DevicePeak& peak);

}  // namespace ivf::bench

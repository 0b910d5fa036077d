#pragma once
/// \file
/// The kinds of result files that open_results() chooses from.

#include <vector>

#include "results.h"

namespace ivf::cli {

std::unique_ptr<ResultSink> make_text_sink(const Destination& destination);
std::unique_ptr<ResultSink> make_matrix_sink(const std::optional<Destination>& ids,
                                             const std::optional<Destination>& distances, std::size_t k);
std::unique_ptr<ResultSink> make_ground_truth_sink(const Destination& destination, std::size_t k);
std::unique_ptr<ResultSink> make_hdf5_sink(const Destination& destination, const ResultShape& shape);

}  // namespace ivf::cli

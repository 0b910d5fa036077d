#include "results.h"

#include "ivf/datasets/datasets.hpp"
#include "message.h"
#include "result_sinks.h"

namespace ivf::cli {
namespace {

/// `file.h5` without a data set's name.
bool is_whole_hdf5(const Destination& destination) {
  return destination.text == TextFormat::none && datasets::is_hdf5(destination.spec) &&
         destination.spec.ends_with(destination.path);
}

void refuse_range(const Destination& destination) {
  misuse(
      "{}: a radius finds another number of rows for each query, which this format cannot hold; use .jsonl, .tsv or "
      ".h5",
      destination.spec);
}

}  // namespace

std::unique_ptr<ResultSink> open_results(const std::optional<Destination>& out,
                                         const std::optional<Destination>& distances, const ResultShape& shape) {
  if (out) check_result_format(*out);
  const bool range = shape.k == 0;
  const bool both = out && (out->text != TextFormat::none || is_ground_truth(out->spec) || is_whole_hdf5(*out));
  if (both && distances) {
    misuse("{}: holds ids and distances; drop the file for distances, or choose a matrix format for the ids",
           out->spec);
  }
  if (out && distances && out->path == distances->path) {
    misuse("{}: ids and distances cannot go to one file of this format; .h5 and gt:FILE hold both", out->spec);
  }
  if (distances && distances->text != TextFormat::none) {
    misuse("{}: distances alone are written as .fvecs, .fbin, .npy or .h5:NAME", distances->spec);
  }
  if (both && out->text != TextFormat::none) return make_text_sink(*out);
  if (both && is_whole_hdf5(*out)) return make_hdf5_sink(*out, shape);
  if (range) refuse_range(out ? *out : *distances);
  if (both) return make_ground_truth_sink(*out, shape.k);
  return make_matrix_sink(out, distances, shape.k);
}

}  // namespace ivf::cli

#include "results_hdf5.h"

#include <algorithm>

#include "ann_benchmarks.h"
#include "options.h"
#include "result_sinks.h"

namespace ivf::cli {
Hdf5Results::Hdf5Results(const std::string& path, const ResultShape& shape)
    : shape_(shape), file_(datasets::Hdf5File::create(path)) {
  if (shape.ann_benchmarks) {
    file_->attribute("distance", ann_benchmarks_name(shape.metric));
  } else {
    file_->attribute("metric", metric_name(shape.metric));
  }
  const bool range = shape.k == 0;
  const std::size_t width = std::max<std::size_t>(1, shape.k);
  if (range) {
    lims_ = &file_->dataset("lims", 1, datasets::Element::i64);
    const idx_t first = 0;
    lims_->write_ids(&first, 1);
  }
  ids_ = &file_->dataset(range ? "ids" : "neighbors", width, datasets::Element::i64);
  distances_ = &file_->dataset("distances", width, datasets::Element::f32);
}

datasets::Writer& Hdf5Results::vectors(const std::string& name, std::size_t dim, datasets::Element element) {
  return file_->dataset(name, dim, element);
}

void Hdf5Results::write_lims(const ResultRows& rows) {
  std::vector<idx_t> ends(rows.nq);
  for (std::size_t i = 0; i < rows.nq; ++i) ends[i] = static_cast<idx_t>(written_ + rows.end(i));
  lims_->write_ids(ends.data(), ends.size());
}

const float* Hdf5Results::distances_of(const ResultRows& rows) {
  if (!shape_.ann_benchmarks) return rows.distances.data();
  converted_.resize(rows.distances.size());
  std::transform(rows.distances.begin(), rows.distances.end(), converted_.begin(),
                 [this](float value) { return ann_benchmarks_distance(shape_.metric, value); });
  return converted_.data();
}

void Hdf5Results::write(const ResultRows& rows) {
  if (lims_) write_lims(rows);
  const std::size_t count = lims_ ? rows.ids.size() : rows.nq;
  ids_->write_ids(rows.ids.data(), count);
  distances_->write(distances_of(rows), count);
  written_ += rows.ids.size();
}

void Hdf5Results::finish() { file_->finish(); }

std::unique_ptr<ResultSink> make_hdf5_sink(const Destination& destination, const ResultShape& shape) {
  return std::make_unique<Hdf5Results>(destination.path, shape);
}

}  // namespace ivf::cli

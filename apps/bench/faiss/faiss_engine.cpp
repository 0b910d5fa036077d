// faiss behind the interface that measurements use: a module of its own, opened only when it is asked for.

#include <omp.h>

#include <algorithm>

#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/utils/utils.h>
#include <fmt/format.h>

#include "bench/faiss_module.h"

namespace ivf::bench {
namespace {

faiss::MetricType faiss_metric(Metric metric) {
  return metric == Metric::l2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
}

/// Runs `work` and turns what faiss throws into the project's exception.
template <class Work>
void guarded(const char* what, const Work& work) {
  try {
    work();
  } catch (const std::exception& error) {
    std::string reason = error.what();
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    throw Error(ErrorKind::failed, fmt::format("faiss could not {}: {}", what, reason));
  }
}

class FaissEngine final : public AdoptingEngine {
 public:
  explicit FaissEngine(const IndexSettings& settings)
      : settings_(settings),
        quantizer_(static_cast<idx_t>(settings.dim), faiss_metric(settings.metric)),
        index_(&quantizer_, settings.dim, settings.nlist, faiss_metric(settings.metric)) {
    omp_set_num_threads(static_cast<int>(settings.threads));
    index_.cp.seed = static_cast<int>(settings.seed);
    // faiss warns of few training rows on stderr; how many there are is what the user asked for, and in the record.
    index_.cp.min_points_per_centroid = 1;
    start_threads();
  }

  LibraryInfo info() const override {
    LibraryInfo info;
    info.library = "faiss_cpu";
    info.backend = "faiss-cpu";
    info.version = fmt::format("{}.{}.{}", FAISS_VERSION_MAJOR, FAISS_VERSION_MINOR, FAISS_VERSION_PATCH);
    info.compile_options = faiss::get_compile_options();
    info.threads = settings_.threads;
    return info;
  }

  void train(MatrixView rows) override {
    const Rows taken(rows, settings_.metric);
    guarded("train", [&] { index_.train(taken.count(), taken.data()); });
  }

  void add(MatrixView rows) override {
    const Rows taken(rows, settings_.metric);
    guarded("add rows", [&] { index_.add(taken.count(), taken.data()); });
  }

  void set_centroids(std::span<const float> centroids) override {
    guarded("take centroids", [&] {
      quantizer_.reset();
      quantizer_.add(static_cast<idx_t>(settings_.nlist), centroids.data());
      index_.is_trained = true;
    });
  }

  void add_to_list(std::size_t list, std::span<const idx_t> ids, std::span<const float> rows) override {
    guarded("take a list", [&] {
      index_.invlists->add_entries(list, ids.size(), ids.data(), reinterpret_cast<const std::uint8_t*>(rows.data()));
      index_.ntotal += static_cast<idx_t>(ids.size());
    });
  }

  SearchResult search(MatrixView queries, const SearchSettings& settings) const override {
    const Rows taken(queries, settings_.metric);
    SearchResult found;
    found.nq = queries.rows;
    found.k = settings.k;
    found.distances.resize(found.nq * found.k);
    found.ids.resize(found.nq * found.k);
    faiss::IVFSearchParameters params;
    params.nprobe = settings.nprobe;
    params.max_codes = settings.max_codes;
    guarded("search", [&] {
      index_.search(taken.count(), taken.data(), static_cast<idx_t>(found.k), found.distances.data(), found.ids.data(),
                    &params);
    });
    return found;
  }

 private:
  /// Threads of OpenMP and BLAS start at their first use; that is no part of a training.
  void start_threads() const {
    constexpr idx_t rows = 64;  // Enough for faiss to call BLAS.
    const std::vector<float> zeros(rows * settings_.dim);
    std::vector<float> distances(rows);
    std::vector<idx_t> ids(rows);
    faiss::IndexFlatL2 small(static_cast<idx_t>(settings_.dim));
    small.add(rows, zeros.data());
    small.search(rows, zeros.data(), 1, distances.data(), ids.data());
  }

  /// Rows as faiss wants them: without gaps, and normalised when the metric is cosine.
  class Rows {
   public:
    Rows(MatrixView rows, Metric metric) : rows_(rows) {
      if (metric != Metric::cosine && rows.stride == rows.dim) return;
      copy_.reserve(rows.rows * rows.dim);
      for (std::size_t i = 0; i < rows.rows; ++i) copy_.insert(copy_.end(), rows.row(i), rows.row(i) + rows.dim);
      if (metric == Metric::cosine) normalize_rows(copy_.data(), rows.rows, rows.dim);
    }
    const float* data() const noexcept { return copy_.empty() ? rows_.data : copy_.data(); }
    idx_t count() const noexcept { return static_cast<idx_t>(rows_.rows); }

   private:
    MatrixView rows_;
    std::vector<float> copy_;
  };

  IndexSettings settings_;
  faiss::IndexFlat quantizer_;
  faiss::IndexIVFFlat index_;
};

}  // namespace
}  // namespace ivf::bench

extern "C" {

__attribute__((visibility("default"))) const char* ivf_faiss_module_version() { return IVF_MODULE_VERSION; }

__attribute__((visibility("default"))) ivf::bench::AdoptingEngine* ivf_faiss_module_make(
    const ivf::bench::IndexSettings* settings) {
  return new ivf::bench::FaissEngine(*settings);
}
}

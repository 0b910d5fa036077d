#include "faiss_samples.h"

#include "engine_fixture.h"

namespace ivf::support {
namespace {

constexpr std::size_t sample_d = 3, sample_n = 12, sample_nlist = 4;

/// Row i of a sample lies by centroid i % lists.
std::vector<float> sample_row(std::size_t i, const float* centroid) {
  const float spread[sample_d] = {static_cast<float>(i) / 64, static_cast<float>(i % 3) / 8,
                                  -static_cast<float>(i % 5) / 16};
  std::vector<float> row(sample_d);
  for (std::size_t j = 0; j < sample_d; ++j) row[j] = 4 * centroid[j] + spread[j];
  return row;
}

Contents sample_contents(bool flat, Metric metric, std::size_t lists, bool numbered) {
  Contents contents;
  contents.flat = flat;
  contents.metric = metric;
  contents.d = sample_d;
  // Four times as far out, these are nearest to themselves by both metrics.
  const std::vector<float> centroids = {1, 0, 0, 0, 1, 0, 0, 0, 1, -1, -1, -1};
  if (!flat) contents.centroids = centroids;
  contents.offsets = {0};
  for (std::size_t list = 0; list < (flat ? 1 : sample_nlist); ++list) {
    for (std::size_t i = 0; i < sample_n; ++i) {
      if (!flat && i % lists != list) continue;
      const auto row = sample_row(i, centroids.data() + i % lists * sample_d);
      contents.rows.insert(contents.rows.end(), row.begin(), row.end());
      contents.ids.push_back(static_cast<idx_t>(numbered ? i : 1000 + 7 * i));
    }
    contents.offsets.push_back(contents.ids.size());
  }
  return contents;
}

}  // namespace

Contents contents_of(const std::string& path, const RunOptions& options) {
  const StoredIndex index(path, options);
  Contents contents{index.flat(), index.metric(), index.dim(), index.offsets(), {}, {}, {}};
  index.visit_centroids([&](MatrixView rows) {
    contents.centroids.insert(contents.centroids.end(), rows.data, rows.data + rows.rows * rows.dim);
  });
  index.visit_rows([&](std::span<const idx_t> ids, MatrixView rows) {
    contents.ids.insert(contents.ids.end(), ids.begin(), ids.end());
    contents.rows.insert(contents.rows.end(), rows.data, rows.data + rows.rows * rows.dim);
  });
  return contents;
}

std::string difference(const Contents& a, const Contents& b) {
  if (a.flat != b.flat) return "kind";
  if (a.metric != b.metric) return "metric";
  if (a.d != b.d) return "dimension";
  if (a.offsets != b.offsets) return "offsets";
  if (a.ids != b.ids) return "ids";
  if (!same_bits(a.centroids, b.centroids)) return "centroids";
  return same_bits(a.rows, b.rows) ? "" : "rows";
}

std::string FaissSample::path() const { return std::string(IVF_SOURCE_DIR) + "/tests/golden/faiss/" + name + ".faiss"; }

std::vector<FaissSample> faiss_samples() {
  return {
      {"ivf-l2", "IndexIVFFlat", false, sample_contents(false, Metric::l2, 4, true)},
      {"ivf-l2-direct-map", "IndexIVFFlat", true, sample_contents(false, Metric::l2, 4, true)},
      {"ivf-ip-few-lists", "IndexIVFFlat", false, sample_contents(false, Metric::ip, 2, false)},
      {"flat-l2", "IndexFlatL2", false, sample_contents(true, Metric::l2, 4, true)},
      {"flat-ip", "IndexFlatIP", false, sample_contents(true, Metric::ip, 4, true)},
      {"map-l2", "IndexIDMap", false, sample_contents(true, Metric::l2, 4, false)},
      {"map2-ip", "IndexIDMap2", false, sample_contents(true, Metric::ip, 4, false)},
  };
}

}  // namespace ivf::support

#include <cstdio>
#include <ivf/index.hpp>
#include <random>
#include <vector>

int main() {
  constexpr std::size_t dim = 64, rows = 20'000, queries = 100;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> base(rows * dim), wanted(queries * dim);
  for (float& value : base) value = normal(random);
  for (float& value : wanted) value = normal(random);

  try {
    ivf::IndexIVFFlat index(dim, /*nlist=*/64, ivf::Metric::l2);
    index.train({base.data(), rows, dim});
    index.add({base.data(), rows, dim});
    index.save("example.ivf");

    const auto loaded = ivf::IndexIVFFlat::load("example.ivf");  // memory-mapped
    ivf::SearchParams params;
    params.k = 10;
    params.nprobe = 16;
    const ivf::SearchResult found = loaded.search({wanted.data(), queries, dim}, params);
    const ivf::SearchResult exact = loaded.search_exact({wanted.data(), queries, dim}, params);

    std::printf("nearest to query 0: row %lld at distance %g\n", static_cast<long long>(found.ids[0]),
                found.distances[0]);
    std::printf("recall@10: %.3f\n", ivf::recall_at_k(found.ids, params.k, exact.ids, params.k, queries, params.k));
  } catch (const ivf::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(error.kind());
  }
}

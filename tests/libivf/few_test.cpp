// Few queries: products where rows lie, and rows that are abandoned, against exact arithmetic on every level.

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/bounds.h"
#include "backends/cpu/levels.h"
#include "buffer.h"
#include "engine_fixture.h"
#include "rows.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::detail;
using namespace ivf::support;

namespace {

constexpr std::size_t block_rows = cpu::scan_block_rows;

/// Rows and queries as a level's few-query kernels take them.
struct FewScene {
  FewScene(const cpu::Kernels& level, const std::vector<float>& base, const std::vector<float>& asked, std::size_t dim,
           bool ip)
      : kernels(level),
        d(dim),
        inner_product(ip),
        rows(base),
        queries(asked),
        planes(OwnedPlanes::from({rows.data(), rows.size() / d, d})),
        rho(static_cast<double>(residual_bound(rows.data(), rows.size() / d, d))),
        packed(level.few->packed_bytes(d)),
        products(cpu::few_queries * cpu::scan_rows_max) {
    const std::size_t stride = (kernels.scan->prepared_bytes(d) + 63) / 64 * 64;
    prepared = Buffer<char>(nq() * stride);
    std::vector<const void*> pointers;
    for (std::size_t q = 0; q < nq(); ++q) {
      kernels.scan->prepare(queries.data() + q * d, d, prepared.data() + q * stride);
      pointers.push_back(prepared.data() + q * stride);
      double residual = 0, square = 0;
      kernels.rows->residual(queries.data() + q * d, d, &residual, &square);
      norms.push_back(cpu::query_norms(square, kernels.scan->rounds_queries ? residual : 0.0, d));
    }
    kernels.few->pack(pointers.data(), nq(), d, packed.data());
    for (std::size_t r = 0; r < n(); ++r) half.push_back(inner_product ? 0.0f : planes.norms[r] * 0.5f);
    half.resize(cpu::scan_rows_max);
    for (std::size_t first = 0; first < n(); first += block_rows) {
      const auto from = planes.norms.begin() + static_cast<std::ptrdiff_t>(first);
      const float largest =
          *std::max_element(from, from + static_cast<std::ptrdiff_t>(std::min(block_rows, n() - first)));
      block_norms.push_back(static_cast<float>(cpu::norm_bound(largest) * (1 + 0x1p-22)));
      block_slops.push_back(inner_product ? 0.0f : largest * 0x1p-21f);
    }
  }
  std::size_t n() const { return rows.size() / d; }
  std::size_t nq() const { return queries.size() / d; }

  cpu::ScanArgs args() {
    return {planes.hi.data(),   false, n(),   d,       true,    packed.data(), nq(), half.data(), block_norms.data(),
            block_slops.data(), t,     kappa, nullptr, nullptr, nullptr};
  }
  void set_limit(std::size_t q, float limit) {
    t[q] = cpu::discard_offset(norms[q], limit, inner_product);
    kappa[q] = static_cast<float>(cpu::kappa(norms[q], rho));
  }
  /// The canonical score: smaller is better.
  float score(std::size_t q, std::size_t r) const {
    const float* query = queries.data() + q * d;
    const float* row = rows.data() + r * d;
    return static_cast<float>(inner_product ? -oracle::inner_product(query, row, d)
                                            : oracle::squared_distance(query, row, d));
  }

  const cpu::Kernels& kernels;
  std::size_t d;
  bool inner_product;
  std::vector<float> rows, queries;
  OwnedPlanes planes;
  double rho;
  Buffer<char> prepared, packed;
  Buffer<float> products;
  std::vector<cpu::QueryNorms> norms;
  std::vector<float> half, block_norms, block_slops;
  float t[cpu::max_tile] = {}, kappa[cpu::max_tile] = {};
};

/// Segments in order, as long as they have two steps of 32 dimensions.
cpu::AbandonArgs plan_in_order(const FewScene& scene) {
  cpu::AbandonArgs plan{};
  plan.norms = scene.planes.norms.data();
  plan.scale = cpu::abandon_scale(scene.rho, scene.d);
  const std::size_t steps = (scene.d + 31) / 32;
  plan.segments = std::min(steps / 2, cpu::abandon_segments);
  std::vector<float> query(scene.queries.begin(), scene.queries.begin() + static_cast<std::ptrdiff_t>(scene.d));
  if (scene.kernels.scan->rounds_queries) {
    for (float& x : query) x = oracle::join({oracle::split(x).hi, 0});
  }
  for (std::size_t s = 0; s < plan.segments; ++s) {
    plan.order[s] = {s * steps / plan.segments, (s + 1) * steps / plan.segments, 0};
    double rest = 0;
    for (std::size_t i = plan.order[s].last_step * 32; i < scene.d; ++i)
      rest += static_cast<double>(query[i]) * static_cast<double>(query[i]);
    plan.order[s].rest = cpu::rest_bound(rest);
  }
  return plan;
}

std::vector<const cpu::Kernels*> levels_with_few() {
  std::vector<const cpu::Kernels*> found;
  for (const auto& kernels : cpu::levels()) {
    if (kernels.few != nullptr) found.push_back(&kernels);
  }
  return found;
}

/// Normal rows, some of which point along the query, so that the bound of what is left of a product is met exactly.
std::vector<float> rows_beside(const std::vector<float>& query, std::size_t n, shapes::Random& random) {
  const std::size_t d = query.size();
  auto rows = shapes::matrix(shapes::Kind::normal, n, d, random);
  for (std::size_t r = 0; r < n; ++r) {
    const float along = random.below(3) == 0 ? 1.0f : static_cast<float>(random.unit());
    const auto noise = static_cast<float>(random.below(4) == 0 ? 0.0 : std::pow(random.unit(), 4));
    for (std::size_t i = 0; i < d; ++i) rows[r * d + i] = rows[r * d + i] * noise + query[i] * along;
  }
  return rows;
}

}  // namespace

TEST_CASE("few queries: products are within their bound, and nothing else is read") {
  shapes::Random random(31);
  for (const auto* kernels : levels_with_few()) {
    for (const std::size_t d : shapes::dimensions()) {
      for (std::size_t nq = 1; nq <= cpu::few_queries; nq += d > 300 ? 3 : 1) {
        const std::size_t n = random.between(1, 70);
        FewScene scene(*kernels, shapes::matrix(shapes::Kind::normal, n, d, random),
                       shapes::matrix(shapes::Kind::normal, nq, d, random), d, true);
        const auto args = scene.args();
        kernels->few->multiply(&args, scene.products.data());
        for (std::size_t q = 0; q < nq; ++q) {
          for (std::size_t r = 0; r < n; ++r) {
            const double norm = cpu::norm_bound(scene.planes.norms[r]);
            const double error = cpu::kappa(scene.norms[q], scene.rho) * norm + scene.norms[q].flush;
            const double exact = oracle::inner_product(scene.queries.data() + q * d, scene.rows.data() + r * d, d);
            const double off = std::fabs(static_cast<double>(scene.products[q * cpu::scan_rows_max + r]) - exact);
            if (!(off <= error))
              FAIL(kernels->level << " d=" << d << " nq=" << nq << " row " << r << " off by " << off);
          }
        }
      }
    }
  }
}

TEST_CASE("few queries: an abandoned row is worse than the threshold") {
  shapes::Random random(32);
  std::size_t abandoned = 0, kept = 0;
  for (const auto* kernels : levels_with_few()) {
    for (const std::size_t d : {64u, 65u, 96u, 127u, 256u, 300u, 784u, 2049u}) {
      for (const bool inner_product : {false, true}) {
        const auto query =
            shapes::matrix(random.below(2) == 0 ? shapes::Kind::normal : shapes::Kind::integers, 1, d, random);
        const std::size_t n = random.between(1, 300);
        FewScene scene(*kernels, rows_beside(query, n, random), query, d, inner_product);
        const auto plan = plan_in_order(scene);
        std::vector<float> scores;
        for (std::size_t r = 0; r < n; ++r) scores.push_back(scene.score(0, r));
        // The threshold is the score of a row, so that one row meets it exactly.
        for (std::size_t chosen = 0; chosen < n; chosen += 1 + n / 20) {
          scene.set_limit(0, scores[chosen]);
          const auto args = scene.args();
          const std::size_t read = kernels->few->multiply_abandoning(&args, &plan, scene.products.data());
          CHECK(read <= n * d);
          for (std::size_t r = 0; r < n; ++r) {
            const bool gone = scene.products[r] == -std::numeric_limits<float>::infinity();
            gone ? ++abandoned : ++kept;
            if (gone && scores[r] <= scores[chosen]) {
              FAIL(kernels->level << " d=" << d << " row " << r << " of score " << scores[r] << " within "
                                  << scores[chosen]);
            }
          }
        }
      }
    }
  }
  if (!levels_with_few().empty()) CHECK(abandoned > kept / 4);
}

TEST_CASE("few queries: searches that abandon rows equal the oracle, and read less") {
  shapes::Random random(33);
  constexpr std::size_t n = 2500, d = 300;
  for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
    Scene scene;
    scene.metric = metric;
    scene.d = d;
    scene.nlist = 8;
    const auto query = shapes::matrix(shapes::Kind::normal, 1, d, random);
    scene.rows = rows_beside(query, n, random);
    scene.centroids.assign(scene.rows.begin(), scene.rows.begin() + static_cast<std::ptrdiff_t>(scene.nlist * d));
    scene.queries = rows_beside(query, 5, random);
    scene.prepare();
    const oracle::InvertedFile lists(metric, scene.stored(), scene.stored_centroids());
    SearchParams params;
    params.k = 7;
    params.nprobe = 5;
    params.mode = SearchMode::matrix;
    std::vector<std::vector<oracle::Hit>> expected;
    for (std::size_t q = 0; q < scene.nq(); ++q) {
      expected.push_back(oracle::topk(metric, scene.stored_query(q), scene.stored(),
                                      lists.candidates(scene.stored_query(q), params.nprobe, 0), params.k));
    }
    for (const auto* kernels : levels_with_few()) {
      const std::string level = kernels->level;
      const ForcedLevel forced(level);
      const auto index = scene.ivf(2);
      for (const unsigned threads : {1u, 2u}) {
        params.threads = threads;
        const auto result = index.search(scene.query_view(), params);
        INFO(metric_name(metric) << " " << level << " threads " << threads);
        for (std::size_t q = 0; q < scene.nq(); ++q) CHECK(difference(result, q, expected[q]) == "");
        if (metric == Metric::l2)
          CHECK(result.stats.bytes_scanned < result.stats.rows_scanned * d * sizeof(std::uint16_t));
      }
    }
  }
}

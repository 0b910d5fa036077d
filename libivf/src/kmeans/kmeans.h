#pragma once
/// \file
/// Deterministic k-means: equal rows, parameters and seed give equal centroids, to the last bit, on any number of
/// threads and any instruction set. Assignments are canonical, sums are integers (fixed_point.h), choices come from
/// Philox.

#include <cstddef>
#include <vector>

#include "backends/backend.h"
#include "index/resources.h"
#include "ivf/index.hpp"

namespace ivf::detail {

struct KMeansResult {
  std::vector<float> centroids;  ///< nlist x dim
  TrainReport report;
};

/// Lloyd's algorithm from the chosen start. L2 assigns by distance; inner product and cosine assign by inner product to
/// centroids that are normalised after each update (spherical k-means), cosine on normalised rows.
///
/// Stops before params.iterations when an iteration moves no row to another list and splits none: later ones would
/// repeat it. Throws Error(misuse) when there are fewer rows than lists.
KMeansResult train_kmeans(Backend& backend, Metric metric, MatrixView rows, std::size_t nlist,
                          const TrainParams& params, const Resources& resources);

/// nlist distinct rows, the start of KMeansInit::random: the first nlist steps of a Fisher-Yates shuffle of 0 .. n-1,
/// in which step i swaps position i with position i + floor(u * (n - i) / 2^64), u being 64-bit number i of
/// Philox(seed, stream 0).
std::vector<std::size_t> random_rows(std::size_t n, std::size_t nlist, std::uint64_t seed);

/// The start of KMeansInit::plus_plus: the first row is random_rows(n, 1, seed)[0]; each later one is drawn with a
/// probability proportional to the squared distance to the nearest row chosen so far. Weights are canonical values in
/// fixed point (w = floor(value * 2^s), s chosen from the largest value and n so that their sum fits 63 bits), so that
/// sums have no order; draw i takes the first row whose running sum exceeds floor(u * total / 2^64), u being number i
/// of Philox(seed, stream 1). When all rows left coincide with chosen ones, the first rows not yet chosen are taken.
/// `held` holds `rows`.
std::vector<std::size_t> plus_plus_rows(HeldRows& held, MatrixView rows, std::size_t nlist, std::uint64_t seed,
                                        const Resources& resources, const Progress& progress);

}  // namespace ivf::detail

// Where k-means starts.

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "index/centroids.h"
#include "ivf/philox.hpp"
#include "kmeans/kmeans.h"
#include "parallel.h"

namespace ivf::detail {
namespace {

/// floor(u * range / 2^64): a number below `range`, whose probabilities differ by less than 2^-64.
std::uint64_t scaled(std::uint64_t u, std::uint64_t range) noexcept {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((static_cast<Wide>(u) * range) >> 64);
}

/// Weights whose sum fits 63 bits; overflowed distances count as the largest float.
class Weights {
 public:
  Weights(std::size_t n, unsigned threads) : nearest_(n, std::numeric_limits<float>::infinity()), threads_(threads) {}

  /// Takes in the distances to one more chosen row.
  void lower(const std::vector<float>& distances) {
    for (std::size_t i = 0; i < nearest_.size(); ++i) {
      nearest_[i] = std::min({nearest_[i], distances[i], std::numeric_limits<float>::max()});
    }
  }

  /// A row drawn with a probability proportional to its weight; nearest_.size() when all weights are zero.
  std::size_t draw(std::uint64_t u) const {
    const float largest = *std::max_element(nearest_.begin(), nearest_.end());
    if (!(largest > 0)) return nearest_.size();
    // value < 2^(ilogb + 1) and n < 2^bit_width: every weight is below 2^(63 - bit_width), their sum below 2^63.
    const double scale = std::ldexp(1.0, 62 - std::ilogb(largest) - static_cast<int>(std::bit_width(nearest_.size())));
    const auto weight = [&](std::size_t i) {
      return static_cast<std::uint64_t>(static_cast<double>(nearest_[i]) * scale);
    };
    std::vector<std::uint64_t> sums((nearest_.size() - 1) / block + 1);
    parallel_for(threads_, sums.size(), 1, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t b = begin; b < end; ++b) {
        for (std::size_t i = b * block; i < std::min((b + 1) * block, nearest_.size()); ++i) sums[b] += weight(i);
      }
    });
    std::uint64_t total = 0;
    for (const std::uint64_t sum : sums) total += sum;
    std::uint64_t target = scaled(u, total);
    std::size_t b = 0;
    while (target >= sums[b]) target -= sums[b++];
    std::size_t i = b * block;
    for (std::uint64_t w = weight(i); target >= w; w = weight(i)) target -= w, ++i;
    return i;
  }

 private:
  static constexpr std::size_t block = 4096;
  std::vector<float> nearest_;
  unsigned threads_;
};

}  // namespace

std::vector<std::size_t> random_rows(std::size_t n, std::size_t nlist, std::uint64_t seed) {
  const Philox philox(seed, 0);
  std::unordered_map<std::size_t, std::size_t> moved;  // The shuffled positions that do not hold their own number.
  const auto at = [&](std::size_t position) {
    const auto found = moved.find(position);
    return found == moved.end() ? position : found->second;
  };
  std::vector<std::size_t> rows(nlist);
  for (std::size_t i = 0; i < nlist; ++i) {
    const std::size_t j = i + scaled(philox.u64(i), n - i);
    rows[i] = at(j);
    moved[j] = at(i);
  }
  return rows;
}

std::vector<std::size_t> plus_plus_rows(HeldRows& held, MatrixView rows, std::size_t nlist, std::uint64_t seed,
                                        const Resources& resources, const Progress& progress) {
  const Philox philox(seed, 1);
  std::vector<std::size_t> chosen = random_rows(rows.rows, 1, seed);
  Weights weights(rows.rows, resources.threads);
  std::vector<std::int32_t> lists(rows.rows);
  std::vector<float> distances(rows.rows);
  std::vector<bool> taken(rows.rows);
  std::size_t first_free = 0;
  for (;;) {
    taken[chosen.back()] = true;
    if (chosen.size() == nlist) return chosen;
    if (progress) progress("init", chosen.size(), nlist);
    const CentroidSet last(rows.slice(chosen.back(), 1), false);
    held.assign(last.corpus(), lists.data(), distances.data());
    weights.lower(distances);
    std::size_t next = weights.draw(philox.u64(chosen.size()));
    if (next == rows.rows) {
      while (taken[first_free]) ++first_free;
      next = first_free;
    }
    chosen.push_back(next);
  }
}

}  // namespace ivf::detail

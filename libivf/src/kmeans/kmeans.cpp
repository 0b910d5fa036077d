#include "kmeans/kmeans.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <queue>

#include "index/centroids.h"
#include "index/impl.h"
#include "kmeans/fixed_point.h"
#include "parallel.h"
#include "rows.h"

namespace ivf::detail {
namespace {

/// The largest magnitude of all values.
float largest_magnitude(MatrixView rows, unsigned threads) {
  std::atomic<std::int32_t> largest{0};  // Bits of finite magnitudes are ordered like the magnitudes.
  parallel_for(threads, rows.rows, 1024, [&](std::size_t begin, std::size_t end, unsigned) {
    std::int32_t mine = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const float* row = rows.row(i);
      for (std::size_t j = 0; j < rows.dim; ++j) {
        mine = std::max(mine, std::bit_cast<std::int32_t>(row[j]) & 0x7fffffff);
      }
    }
    std::int32_t seen = largest.load(std::memory_order_relaxed);
    while (mine > seen && !largest.compare_exchange_weak(seen, mine, std::memory_order_relaxed)) {
    }
  });
  return std::bit_cast<float>(largest.load());
}

/// One training: the state that iterations share.
class Lloyd {
 public:
  Lloyd(HeldRows& held, MatrixView rows, std::size_t nlist, bool spherical, const Resources& resources)
      : held_(held),
        rows_(rows),
        nlist_(nlist),
        spherical_(spherical),
        resources_(resources),
        fixed_(FixedPoint::of(largest_magnitude(rows, resources.threads), rows.rows)),
        lists_(rows.rows),
        previous_(rows.rows),
        values_(rows.rows),
        sums_(nlist * rows.dim),
        sizes_(nlist) {}

  std::vector<float> centroids;

  void start_from(const std::vector<std::size_t>& chosen) {
    centroids.resize(nlist_ * rows_.dim);
    for (std::size_t c = 0; c < nlist_; ++c) {
      std::copy_n(rows_.row(chosen[c]), rows_.dim, centroids.begin() + static_cast<std::ptrdiff_t>(c * rows_.dim));
    }
    project();
  }

  /// Assigns, then moves the centroids. Returns false when the result repeats that of the iteration before.
  bool iterate(bool first, TrainReport& report) {
    assign();
    // Added in the order of the rows: the objective is the same on any number of threads.
    double objective = 0;
    for (const float value : values_) objective += value;
    report.objective.push_back(objective);
    if (!first && lists_ == previous_ && !split_last_) return false;
    held_.update_sums(fixed_, nlist_, first ? nullptr : previous_.data(), lists_.data(), sums_.data(), sizes_.data());
    move_centroids();
    const std::uint64_t splits = refill();
    split_last_ = splits != 0;
    report.splits += splits;
    project();
    return true;
  }

  double imbalance() const { return imbalance_of(sizes_); }

 private:
  void assign() {
    lists_.swap(previous_);
    const CentroidSet set(MatrixView(centroids.data(), nlist_, rows_.dim), spherical_, resources_.threads);
    held_.assign(set.corpus(), lists_.data(), values_.data());
  }

  /// Each centroid becomes the mean of its rows; those of empty lists stay for refill().
  void move_centroids() {
    const std::size_t dim = rows_.dim;
    parallel_for(resources_.threads, nlist_, 32, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t c = begin; c < end; ++c) {
        if (sizes_[c] == 0) continue;
        for (std::size_t j = 0; j < dim; ++j) centroids[c * dim + j] = fixed_.mean(sums_[c * dim + j], sizes_[c]);
      }
    });
  }

  /// Gives each empty list half of the largest one (the first of equal size): both take its centroid, moved apart by
  /// 1/1024 of each coordinate, in opposite directions. Returns the number of lists refilled.
  std::uint64_t refill() {
    using Entry = std::pair<std::uint64_t, std::size_t>;
    const auto smaller = [](const Entry& a, const Entry& b) {
      return a.first != b.first ? a.first < b.first : a.second > b.second;
    };
    std::vector<std::size_t> empty;
    for (std::size_t c = 0; c < nlist_; ++c) {
      if (sizes_[c] == 0) empty.push_back(c);
    }
    if (empty.empty()) return 0;
    std::priority_queue<Entry, std::vector<Entry>, decltype(smaller)> largest(smaller);
    for (std::size_t c = 0; c < nlist_; ++c) {
      if (sizes_[c] != 0) largest.push({sizes_[c], c});
    }
    for (const std::size_t c : empty) {
      const auto [size, from] = largest.top();
      largest.pop();
      split(from, c);
      largest.push({size / 2, c});
      largest.push({size - size / 2, from});
    }
    return empty.size();
  }

  void split(std::size_t from, std::size_t to) {
    constexpr float up = 1 + 1.0f / 1024, down = 1 - 1.0f / 1024;
    float* a = centroids.data() + from * rows_.dim;
    float* b = centroids.data() + to * rows_.dim;
    for (std::size_t j = 0; j < rows_.dim; ++j) {
      const float high = a[j] * up, low = a[j] * down;
      if (!std::isfinite(high)) {  // Next to the largest float there is no room to move up.
        b[j] = a[j];
        continue;
      }
      b[j] = j % 2 == 0 ? high : low;
      a[j] = j % 2 == 0 ? low : high;
    }
  }

  void project() {
    if (!spherical_) return;
    parallel_for(resources_.threads, nlist_, 64, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t c = begin; c < end; ++c) {
        normalize_row(centroids.data() + c * rows_.dim, rows_.dim, centroids.data() + c * rows_.dim);
      }
    });
  }

  HeldRows& held_;
  MatrixView rows_;
  std::size_t nlist_;
  bool spherical_;
  Resources resources_;
  FixedPoint fixed_;
  std::vector<std::int32_t> lists_, previous_;
  std::vector<float> values_;
  std::vector<std::uint64_t> sums_;   ///< nlist x dim, in fixed point.
  std::vector<std::uint64_t> sizes_;  ///< nlist
  bool split_last_ = false;
};

void check_training(MatrixView rows, std::size_t nlist, const TrainParams& params) {
  if (rows.rows < nlist) {
    throw Error(
        ErrorKind::misuse,
        fmt::format("expected at least as many training rows as lists, found {} rows for nlist {}; train on more "
                    "rows or lower nlist",
                    rows.rows, nlist));
  }
  if (rows.rows > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(ErrorKind::misuse, fmt::format("expected at most {} training rows, found {}; train on a sample",
                                               std::numeric_limits<std::uint32_t>::max(), rows.rows));
  }
  if (params.iterations == 0) {
    throw Error(ErrorKind::misuse, "expected at least 1 iteration of k-means, found 0");
  }
}

}  // namespace

KMeansResult train_kmeans(Backend& backend, Metric metric, MatrixView rows, std::size_t nlist,
                          const TrainParams& params, const Resources& resources) {
  check_training(rows, nlist, params);
  std::vector<float> copy;
  if (metric == Metric::cosine) {
    copy.resize(rows.rows * rows.dim);
    parallel_for(resources.threads, rows.rows, 256, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t i = begin; i < end; ++i) normalize_row(rows.row(i), rows.dim, copy.data() + i * rows.dim);
    });
    rows = MatrixView(copy.data(), rows.rows, rows.dim);
  }
  KMeansResult result;
  result.report.rows = rows.rows;
  const auto held = backend.hold(rows, resources.threads, resources.max_memory);
  Lloyd lloyd(*held, rows, nlist, is_inner_product(metric), resources);
  lloyd.start_from(params.init == KMeansInit::random
                       ? random_rows(rows.rows, nlist, params.seed)
                       : plus_plus_rows(*held, rows, nlist, params.seed, resources, params.progress));
  for (unsigned i = 0; i < params.iterations; ++i) {
    if (params.progress) params.progress("train", i, params.iterations);
    if (!lloyd.iterate(i == 0, result.report)) break;
  }
  if (params.progress) params.progress("train", params.iterations, params.iterations);
  result.report.imbalance = lloyd.imbalance();
  result.centroids = std::move(lloyd.centroids);
  return result;
}

}  // namespace ivf::detail

#include "backends/cpu/nearest.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "backends/cpu/row_bounds.h"
#include "parallel.h"

namespace ivf::detail::cpu {
namespace {

// The second-level cache holds a slice of centroids beside a block of packed rows.
constexpr std::size_t slice_bytes = std::size_t{512} << 10;
constexpr std::size_t packed_bytes_max = std::size_t{512} << 10;
constexpr std::size_t block_rows_max = 512;
constexpr std::size_t shared_bytes_max = std::size_t{64} << 20;  // Of staged centroids that all threads share.
constexpr std::size_t chunk_rows = 64;                           // Rows that a thread takes at a time.
constexpr std::size_t opening_rows = 256;                        // Centroids whose best product sets a first threshold.

}  // namespace

Nearest::Nearest(const Kernels& kernels, const Corpus& centroids, unsigned threads)
    : kernels_(kernels),
      corpus_(centroids),
      threads_(threads),
      planes_(centroids.segments.front().planes),
      rho_(centroids.segments.front().residuals.empty()
               ? 0x1p-8
               : static_cast<double>(centroids.segments.front().residuals[0])) {
  const std::size_t d = corpus_.dim, count = corpus_.rows, padded = round_up(count, scan_block_rows);
  const ScanKernels& scan = *kernels_.scan;
  direct_ = count == padded && scan.direct(planes_.hi.data(), d);
  row_bytes_ = direct_ ? d * sizeof(std::uint16_t) : scan.staged_bytes(d);
  slice_rows_ = std::clamp<std::size_t>(slice_bytes / row_bytes_ / scan_block_rows * scan_block_rows, scan_block_rows,
                                        scan_rows_max);
  half_norms_ = Buffer<float>(padded);
  block_norms_ = Buffer<float>(padded / scan_block_rows);
  block_slops_ = Buffer<float>(padded / scan_block_rows);
  std::fill_n(half_norms_.data() + count, padded - count, 0.0f);
  describe_rows(planes_.norms.data(), count, corpus_.inner_product, half_norms_.data(), block_norms_.data(),
                block_slops_.data());
  values_ = Buffer<float>(count * d);
  parallel_for(threads_, count, 64, [&](std::size_t begin, std::size_t end, unsigned) {
    kernels_.rows->join(planes_.hi.data() + begin * d, planes_.lo.empty() ? nullptr : planes_.lo.data() + begin * d,
                        (end - begin) * d, values_.data() + begin * d);
  });
  if (direct_ || padded * row_bytes_ > shared_bytes_max) return;
  staged_ = Buffer<char>(padded * row_bytes_);
  parallel_for(threads_, padded / scan_block_rows, 4, [&](std::size_t begin, std::size_t end, unsigned) {
    const std::size_t from = begin * scan_block_rows, to = std::min(end * scan_block_rows, count);
    // Rows past the last one are multiplied too, and their products ignored.
    if (to == count)
      std::memset(staged_.data() + (padded - scan_block_rows) * row_bytes_, 0, scan_block_rows * row_bytes_);
    scan.stage(planes_.hi.data() + from * d, to - from, d, staged_.data() + from * row_bytes_);
  });
}

const char* Nearest::operands(std::size_t first, std::size_t rows, char* buffer) const {
  const std::size_t d = corpus_.dim;
  const std::uint16_t* hi = planes_.hi.data() + first * d;
  if (direct_) return reinterpret_cast<const char*>(hi);
  if (!staged_.empty()) return staged_.data() + first * row_bytes_;
  kernels_.scan->stage(hi, rows, d, buffer);
  return buffer;
}

/// The rows that one thread works on, up to a block at a time.
class NearestBlock {
 public:
  NearestBlock(const Nearest& centroids, const NearestRows& rows)
      : centroids_(centroids),
        kernels_(centroids.kernels_),
        corpus_(centroids.corpus_),
        rows_(rows),
        tile_rows_(kernels_.scan->tile),
        packed_stride_(kernels_.scan->packed_bytes(corpus_.dim)),
        prepared_stride_(round_up(kernels_.scan->prepared_bytes(corpus_.dim), 64)),
        tiles_(std::clamp<std::size_t>(packed_bytes_max / packed_stride_, 1, block_rows_max / tile_rows_)),
        prepared_(tile_rows_ * prepared_stride_),
        packed_(tiles_.size() * packed_stride_),
        lanes_(tiles_.size() * tile_rows_),
        staged_(centroids.direct_ || !centroids.staged_.empty() ? 0 : centroids.slice_rows_ * centroids.row_bytes_),
        scratch_(scan_scratch_bytes),
        dots_(centroids.slice_rows_ * tile_rows_ + 16),
        maxima_(opening_rows / maxima_rows * tile_rows_),
        tags_(centroids.slice_rows_ * tile_rows_ + 16) {
    if (!staged_.empty()) std::memset(staged_.data(), 0, staged_.size());
  }

  /// Rows [begin, end), at most chunk_rows.
  void take(std::size_t begin, std::size_t end);
  /// Finds the answers of all rows taken.
  void flush();

 private:
  struct Candidate {
    float lower;
    std::int32_t list;
  };
  struct Lane {
    static constexpr std::size_t capacity = 12;
    QueryNorms norms;
    double slope;
    std::size_t row;
    float limit;        ///< At least the canonical score of the nearest.
    float score;        ///< Canonical, of `list`.
    std::int32_t list;  ///< The best of those that were computed; -1: none was.
    std::uint32_t count;
    Candidate candidates[capacity];
  };
  struct Tile {
    alignas(64) float t[max_tile];
    alignas(64) float kappa[max_tile];
  };

  /// Rows and centroids whose canonical scores are computed together.
  struct Pairs {
    std::vector<const float*> rows, centroids;
    void clear() { rows.clear(), centroids.clear(); }
    void add(const float* row, const float* centroid) { rows.push_back(row), centroids.push_back(centroid); }
  };

  void take(std::size_t row, std::int32_t hint, float score);
  void pack();
  void scan_slice(std::size_t first, std::size_t rows);
  void open(const ScanArgs& args, Tile& tile, Lane* lanes);
  void collect(std::size_t found, std::size_t first, Tile& tile, Lane* lanes);
  /// Computes the candidates that are still possible.
  void settle(Lane& lane);
  /// The same of all lanes in use.
  void settle();
  static void consider(Lane& lane, std::int32_t list, float score) noexcept;
  void compute_pairs(float* scores) const;
  const float* values_of(std::int32_t list) const {
    return centroids_.values_.data() + static_cast<std::size_t>(list) * corpus_.dim;
  }

  const Nearest& centroids_;
  const Kernels& kernels_;
  const Corpus& corpus_;
  const NearestRows& rows_;
  std::size_t tile_rows_, packed_stride_, prepared_stride_;
  std::vector<Tile> tiles_;
  Buffer<char> prepared_;  ///< Of the tile that is being filled.
  Buffer<char> packed_;
  Buffer<Lane> lanes_;
  std::size_t count_ = 0;  ///< Lanes in use.
  Pairs pairs_;
  std::vector<float> scores_;
  Buffer<char> staged_, scratch_;
  Buffer<float> dots_, maxima_;
  Buffer<std::uint32_t> tags_;
};

void NearestBlock::take(std::size_t begin, std::size_t end) {
  if (rows_.hints == nullptr) {
    for (std::size_t row = begin; row < end; ++row) take(row, -1, infinity);
    return;
  }
  pairs_.clear();
  for (std::size_t row = begin; row < end; ++row) pairs_.add(rows_.rows.row(row), values_of(rows_.hints[row]));
  float scores[chunk_rows];
  compute_pairs(scores);
  for (std::size_t row = begin; row < end; ++row) take(row, rows_.hints[row], scores[row - begin]);
}

void NearestBlock::take(std::size_t row, std::int32_t hint, float score) {
  const float* x = rows_.rows.row(row);
  Lane& lane = lanes_[count_];
  RowSums own;
  RowSums& sums = rows_.sums != nullptr ? rows_.sums[row] : own;
  if (!rows_.sums_known) kernels_.rows->residual(x, corpus_.dim, &sums.residual, &sums.square);
  lane.norms = query_norms(sums.square, kernels_.scan->rounds_queries ? sums.residual : 0.0, corpus_.dim);
  lane.slope = kappa(lane.norms, centroids_.rho_);
  lane.row = row;
  lane.count = 0;
  lane.list = hint;
  lane.limit = lane.score = score;
  const std::size_t in_tile = count_ % tile_rows_;
  Tile& tile = tiles_[count_ / tile_rows_];
  tile.t[in_tile] = discard_offset(lane.norms, lane.limit, corpus_.inner_product);
  tile.kappa[in_tile] = static_cast<float>(lane.slope);
  kernels_.scan->prepare(x, corpus_.dim, prepared_.data() + in_tile * prepared_stride_);
  ++count_;
  if (count_ % tile_rows_ == 0) pack();
  if (count_ == lanes_.size()) flush();
}

void NearestBlock::pack() {
  const void* prepared[max_tile];
  const std::size_t tile = (count_ - 1) / tile_rows_, lanes = count_ - tile * tile_rows_;
  for (std::size_t i = 0; i < lanes; ++i) prepared[i] = prepared_.data() + i * prepared_stride_;
  kernels_.scan->pack(prepared, lanes, corpus_.dim, packed_.data() + tile * packed_stride_);
  std::fill(tiles_[tile].t + lanes, tiles_[tile].t + tile_rows_, 0.0f);
  std::fill(tiles_[tile].kappa + lanes, tiles_[tile].kappa + tile_rows_, 0.0f);
}

void NearestBlock::flush() {
  if (count_ == 0) return;
  if (count_ % tile_rows_ != 0) pack();
  for (std::size_t first = 0; first < corpus_.rows; first += centroids_.slice_rows_)
    scan_slice(first, std::min(centroids_.slice_rows_, corpus_.rows - first));
  settle();
  for (std::size_t i = 0; i < count_; ++i) {
    const Lane& lane = lanes_[i];
    rows_.lists[lane.row] = lane.list;
    // A zero is +0.
    if (rows_.values != nullptr) rows_.values[lane.row] = corpus_.inner_product ? 0.0f - lane.score : lane.score;
  }
  count_ = 0;
}

void NearestBlock::scan_slice(std::size_t first, std::size_t rows) {
  const std::size_t d = corpus_.dim, row_bytes = centroids_.row_bytes_;
  const char* operands = centroids_.operands(first, rows, staged_.data());
  for (std::size_t begin = 0; begin < count_; begin += tile_rows_) {
    Tile& tile = tiles_[begin / tile_rows_];
    Lane* lanes = lanes_.data() + begin;
    const auto args = [&](std::size_t from, std::size_t count) {
      return ScanArgs{operands + from * row_bytes,
                      !centroids_.direct_,
                      count,
                      d,
                      begin == 0,
                      packed_.data() + begin / tile_rows_ * packed_stride_,
                      std::min(tile_rows_, count_ - begin),
                      centroids_.half_norms_.data() + first + from,
                      centroids_.block_norms_.data() + (first + from) / scan_block_rows,
                      centroids_.block_slops_.data() + (first + from) / scan_block_rows,
                      tile.t,
                      tile.kappa,
                      scratch_.data(),
                      dots_.data(),
                      tags_.data()};
    };
    const bool opening = first == 0 && rows_.hints == nullptr;
    if (opening) open(args(0, std::min(rows, opening_rows)), tile, lanes);
    // Each doubling of the centroids leaves about one survivor a row.
    for (std::size_t row = 0, step = 0; row < rows; row += step) {
      step = opening ? std::min(rows - row, std::max(row, 2 * opening_rows)) : rows;
      const ScanArgs part = args(row, step);
      const std::size_t found = kernels_.scan->scan(&part);
      if (found > 0) collect(found, first + row, tile, lanes);
    }
  }
}

void NearestBlock::open(const ScanArgs& args, Tile& tile, Lane* lanes) {
  float norm = 0;
  for (std::size_t block = 0; block * scan_block_rows < args.rows; ++block)
    norm = std::max(norm, args.block_norms[block]);
  if (!(norm < largest_norm)) return;
  kernels_.scan->maxima(&args, maxima_.data());
  float largest[max_tile];
  const std::size_t groups = (args.rows + maxima_rows - 1) / maxima_rows;
  kernels_.rows->kth_largest(maxima_.data(), groups, tile_rows_, args.nq, 1, largest);
  for (std::size_t i = 0; i < args.nq; ++i) {
    Lane& lane = lanes[i];
    if (!(lane.norms.norm < largest_norm)) continue;
    lane.limit = opening_limit(lane.norms, largest[i], static_cast<double>(norm), lane.slope, corpus_.inner_product);
    tile.t[i] = discard_offset(lane.norms, lane.limit, corpus_.inner_product);
  }
}

void NearestBlock::collect(std::size_t found, std::size_t first, Tile& tile, Lane* lanes) {
  for (std::size_t i = 0; i < found; ++i) {
    const std::size_t in_tile = tags_[i] % max_tile, row = first + tags_[i] / max_tile;
    Lane& lane = lanes[in_tile];
    const auto list = static_cast<std::int32_t>(row);
    if (list == lane.list) continue;
    const ScoreBounds bounds = score_bounds(lane.norms, dots_[i], centroids_.planes_.norms[row],
                                            static_cast<double>(centroids_.block_norms_[row / scan_block_rows]),
                                            lane.slope, corpus_.inner_product);
    if (bounds.lower > lane.limit) continue;
    if (lane.count == Lane::capacity) settle(lane);
    lane.candidates[lane.count++] = {bounds.lower, list};
    if (bounds.upper < lane.limit) {
      lane.limit = bounds.upper;
      tile.t[in_tile] = discard_offset(lane.norms, lane.limit, corpus_.inner_product);
    }
  }
}

void NearestBlock::consider(Lane& lane, std::int32_t list, float score) noexcept {
  if (lane.list >= 0 && (score > lane.score || (score == lane.score && list > lane.list))) return;
  lane.score = score;
  lane.list = list;
  lane.limit = std::min(lane.limit, score);
}

void NearestBlock::settle(Lane& lane) {
  pairs_.clear();
  for (std::size_t c = 0; c < lane.count; ++c) pairs_.add(rows_.rows.row(lane.row), values_of(lane.candidates[c].list));
  float scores[Lane::capacity];
  compute_pairs(scores);
  for (std::size_t c = 0; c < lane.count; ++c) consider(lane, lane.candidates[c].list, scores[c]);
  lane.count = 0;
}

void NearestBlock::settle() {
  pairs_.clear();
  for (std::size_t i = 0; i < count_; ++i) {
    Lane& lane = lanes_[i];
    std::uint32_t left = 0;
    for (std::size_t c = 0; c < lane.count; ++c) {
      if (!(lane.candidates[c].lower > lane.limit)) lane.candidates[left++] = lane.candidates[c];
    }
    lane.count = left;
    if (left == 1 && lane.list < 0 && rows_.values == nullptr) {
      lane.list = lane.candidates[0].list;  // No value is needed to name it.
      lane.count = 0;
    }
    for (std::size_t c = 0; c < lane.count; ++c)
      pairs_.add(rows_.rows.row(lane.row), values_of(lane.candidates[c].list));
  }
  scores_.resize(pairs_.rows.size());
  compute_pairs(scores_.data());
  const float* score = scores_.data();
  for (std::size_t i = 0; i < count_; ++i) {
    for (std::size_t c = 0; c < lanes_[i].count; ++c) consider(lanes_[i], lanes_[i].candidates[c].list, *score++);
  }
}

void NearestBlock::compute_pairs(float* scores) const {
  const PairArgs args{pairs_.rows.data(), pairs_.centroids.data(), corpus_.dim, pairs_.rows.size(), scores};
  (corpus_.inner_product ? kernels_.rows->pairs_ip : kernels_.rows->pairs_l2)(&args);
  if (!corpus_.inner_product) return;
  for (std::size_t i = 0; i < pairs_.rows.size(); ++i) scores[i] = -scores[i];
}

void Nearest::find(const NearestRows& rows) const {
  const std::size_t n = rows.rows.rows;
  std::atomic<std::size_t> next{0};
  const unsigned threads = static_cast<unsigned>(std::min<std::size_t>(threads_, (n + chunk_rows - 1) / chunk_rows));
  run_threads(threads, [&](unsigned, unsigned) {
    NearestBlock block(*this, rows);
    for (std::size_t begin; (begin = next.fetch_add(chunk_rows, std::memory_order_relaxed)) < n;) {
      block.take(begin, std::min(begin + chunk_rows, n));
    }
    block.flush();
  });
}

}  // namespace ivf::detail::cpu

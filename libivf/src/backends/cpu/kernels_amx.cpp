// AMX-BF16: the hi plane is the left operand of the tile product as it lies in the file, the queries are packed as the
// right one.
//
// C[row][query] += A[row][k] * B[k][query] for 16 rows, 16 queries and 32 dimensions an instruction. Products of bf16
// values are exact in float32 unless they underflow; sums round to nearest, denormal inputs and results count as zero.
// The error is within gamma_d = d * 2^-24 of the sum of magnitudes for any order of additions, plus the flushed
// denormals, which docs/numerics.md bounds.

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/cpu/avx512_select.h"
#include "backends/cpu/bf16_queries.h"
#include "backends/cpu/kernels.h"

namespace ivf::detail::cpu {
namespace {

constexpr size_t tile = 64;  // Four tiles of 16 queries.
constexpr size_t tile_rows = 16;

// Tile loads that cross cache lines cost many times the aligned ones (measured: 3.4 times for a whole scan at d = 128),
// so rows that do not lie on 64-byte boundaries are copied: chunk c of the 16 rows from 16*g on is the tile at g *
// chunks + c.
size_t staged_bytes(size_t d) { return chunks(d) * 64; }
bool direct(const uint16_t* hi, size_t d) { return d % tile_k == 0 && reinterpret_cast<uintptr_t>(hi) % 64 == 0; }

void stage(const uint16_t* hi, size_t rows, size_t d, void* staged) {
  char* out = static_cast<char*>(staged);
  for (size_t r = 0; r < rows; ++r) {
    char* row = out + (r / tile_rows * chunks(d) * tile_rows + r % tile_rows) * 64;
    const uint16_t* x = hi + r * d;
    size_t i = 0;
    for (; i + tile_k <= d; i += tile_k, row += tile_bytes) _mm512_store_si512(row, _mm512_loadu_si512(x + i));
    if (i < d) {
      const __mmask32 live = (uint32_t{1} << (d - i)) - 1;
      _mm512_store_si512(row, _mm512_maskz_loadu_epi16(live, x + i));
    }
  }
}

// Tiles 0-3: products; 4, 5: rows; 6, 7: queries. A constant in memory, because the intrinsic tells the compiler of the
// first eight bytes only: stores to the rest of a local would be dropped.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
const TileConfig tile_config;

/// Where the tiles of rows lie: at base + group * group_step + chunk * chunk_step, 16 rows `row_step` bytes apart.
struct RowTiles {
  const char* base;
  size_t group_step, chunk_step, row_step;
};

/// Where a block of products stands: rows (at most 32) from `first` on, queries from `lane` on.
struct Block {
  size_t first, rows, lane;
};

/// Products of 32 rows (from 16-row group `group` on) and 16 * query_tiles queries, stored as products[row][32].
/// Between the steps of the multiplication, look(from, to) is called for consecutive parts, multiples of maxima_rows,
/// of 32 rows: the vector units look at the block before while the tile unit is busy. (Looking at it as a whole
/// afterwards takes a fifth longer: the tile instructions that wait fill the window in which the core finds independent
/// work.)
template <size_t query_tiles, class Look>
void multiply(const RowTiles& rows, size_t group, const char* packed, size_t count, float* products, Look look) {
  const char* upper = rows.base + group * rows.group_step;
  const char* lower = upper + rows.group_step;
  _tile_zero(0);
  _tile_zero(2);
  if constexpr (query_tiles == 2) {
    _tile_zero(1);
    _tile_zero(3);
  }
  const size_t step = (scan_block_rows / maxima_rows + count - 1) / count * maxima_rows;
  size_t seen = 0;
  for (size_t c = 0; c < count; ++c) {
    _tile_loadd(4, upper + c * rows.chunk_step, rows.row_step);
    _tile_loadd(6, packed + c * 2 * tile_bytes, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, lower + c * rows.chunk_step, rows.row_step);
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (query_tiles == 2) {
      _tile_loadd(7, packed + (c * 2 + 1) * tile_bytes, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
    if (seen < scan_block_rows) {
      const size_t end = seen + step < scan_block_rows ? seen + step : scan_block_rows;
      look(seen, end);
      seen = end;
    }
  }
  _tile_stored(0, products, 128);
  _tile_stored(2, products + 16 * 32, 128);
  if constexpr (query_tiles == 2) {
    _tile_stored(1, products + 16, 128);
    _tile_stored(3, products + 16 * 32 + 16, 128);
  }
}

/// Multiplies all rows with all queries, blocks of 32 x 32 in order; the rows of a block meet all queries while they
/// are in the first-level cache. Each block is looked at while the next one is multiplied: consumer.start(block,
/// products), consumer.look(from, to) for parts of its 32 rows, consumer.finish().
template <class Consumer>
void multiply_rows(const ScanArgs* args, Consumer& consumer) {
  const size_t count = chunks(args->d), stride = args->d * sizeof(uint16_t);
  const char* packed = static_cast<const char*>(args->packed);
  const char* base = static_cast<const char*>(args->rows_data);
  const RowTiles tiles = args->staged ? RowTiles{base, count * tile_bytes, tile_bytes, 64}
                                      : RowTiles{base, tile_rows * stride, tile_k * sizeof(uint16_t), stride};
  float* products[2] = {static_cast<float*>(args->scratch), static_cast<float*>(args->scratch) + 32 * 32};
  size_t block = 0;
  _tile_loadconfig(&tile_config);
  for (size_t row = 0; row < args->rows; row += scan_block_rows) {
    for (size_t lane = 0; lane < args->nq; lane += 32, ++block) {
      const char* queries = packed + lane / 16 * count * tile_bytes;
      const auto look = [&consumer, block](size_t from, size_t to) {
        if (block > 0) consumer.look(from, to);
      };
      if (args->nq - lane <= 16) {
        multiply<1>(tiles, row / tile_rows, queries, count, products[block % 2], look);
      } else {
        multiply<2>(tiles, row / tile_rows, queries, count, products[block % 2], look);
      }
      if (block > 0) consumer.finish();
      const size_t left = args->rows - row;
      consumer.start({row, left < scan_block_rows ? left : scan_block_rows, lane}, products[block % 2]);
    }
  }
  _tile_release();
  consumer.look(0, scan_block_rows);
  consumer.finish();
}

/// Compares products with the thresholds. Most blocks hold a few survivors: their masks are collected without a branch,
/// then visited.
class Selector {
 public:
  explicit Selector(const ScanArgs* args) : args_(args) {}

  void start(const Block& block, const float* products) {
    block_ = block;
    products_ = products;
    half_norms_ = args_->half_norms + block.first;
    for (size_t v = 0; v < 2; ++v) {
      // half - D > -bound rounds as D - half < bound does, and takes D from memory.
      bound_[v] =
          _mm512_sub_ps(_mm512_setzero_ps(), block_bound(args_, block.first / scan_block_rows, block.lane + v * 16));
      live_[v] = lanes_below(args_->nq, block.lane + v * 16);
    }
  }

  void look(size_t from, size_t to) {
    for (size_t r = from; r < to; ++r) {
      const __m512 half = _mm512_set1_ps(half_norms_[r]);
      for (size_t v = 0; v < 2; ++v) {
        const __m512 difference = _mm512_sub_ps(half, _mm512_load_ps(products_ + r * 32 + v * 16));
        keep_[v * scan_block_rows + r] = _mm512_mask_cmp_ps_mask(live_[v], difference, bound_[v], _CMP_NGT_UQ);
      }
    }
  }

  void finish() {
    const uint32_t counted = block_.rows < scan_block_rows ? (uint32_t{1} << block_.rows) - 1 : ~uint32_t{0};
    for (size_t v = 0; v < 2; ++v) {
      const __m512i masks = _mm512_load_si512(keep_ + v * scan_block_rows);
      for (uint32_t left = _mm512_test_epi16_mask(masks, masks) & counted; left != 0; left &= left - 1) {
        const auto r = static_cast<size_t>(__builtin_ctz(left));
        found_ = append(_mm512_load_ps(products_ + r * 32 + v * 16), keep_[v * scan_block_rows + r],
                        static_cast<uint32_t>((block_.first + r) * max_tile + block_.lane + v * 16), args_, found_);
      }
    }
  }

  size_t found() const { return found_; }

 private:
  const ScanArgs* args_;
  Block block_{};
  const float* products_ = nullptr;
  const float* half_norms_ = nullptr;
  size_t found_ = 0;
  __m512 bound_[2];
  __mmask16 live_[2];
  alignas(64) uint16_t keep_[scan_block_rows * 2];
};

size_t scan(const ScanArgs* args) {
  Selector selector(args);
  multiply_rows(args, selector);
  return selector.found();
}

class Maxima {
 public:
  Maxima(const ScanArgs* args, float* largest) : args_(args), largest_(largest) {}

  void start(const Block& block, const float* products) {
    block_ = block;
    products_ = products;
  }

  void look(size_t from, size_t to) {
    for (size_t group = from; group < to && group < block_.rows; group += maxima_rows) {
      float* out = largest_ + (block_.first + group) / maxima_rows * tile + block_.lane;
      for (size_t v = 0; v < 2 && block_.lane + v * 16 < args_->nq; ++v) {
        __m512 best = _mm512_set1_ps(-__builtin_inff());
        for (size_t r = group; r < block_.rows && r < group + maxima_rows; ++r) {
          const __m512 half = _mm512_set1_ps(args_->half_norms[block_.first + r]);
          best = _mm512_max_ps(best, _mm512_sub_ps(_mm512_load_ps(products_ + r * 32 + v * 16), half));
        }
        _mm512_storeu_ps(out + v * 16, best);
      }
    }
  }

  void finish() {}

 private:
  const ScanArgs* args_;
  float* largest_;
  Block block_{};
  const float* products_ = nullptr;
};

void maxima(const ScanArgs* args, float* largest) {
  Maxima consumer(args, largest);
  multiply_rows(args, consumer);
}

}  // namespace

const ScanKernels scan_amx = {tile,   true, prepared_bytes, prepare, packed_bytes<tile>, staged_bytes, stage,
                              direct, pack, scan,           maxima};

}  // namespace ivf::detail::cpu

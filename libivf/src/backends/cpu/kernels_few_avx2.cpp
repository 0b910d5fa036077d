// AVX2 and FMA: few queries against rows where they lie.

#include "backends/cpu/abandon_rows.h"

namespace ivf::detail::cpu {
namespace {

struct Avx2 {
  using Element = float;
  using Sum = __m256;
  struct Query {
    __m256 even, odd;
  };
  using Row = Query;
  static constexpr size_t part = 16;
  static constexpr size_t query_bytes = part * sizeof(float);
  static constexpr size_t wide = 8;

  static Sum zero() { return _mm256_setzero_ps(); }

  // Even dimensions before odd ones: the two halves of 32-bit words become float32 with a shift and a mask.
  static void pack(const float* query, char* out) {
    const __m256 a = _mm256_loadu_ps(query), b = _mm256_loadu_ps(query + 8);
    const __m256 even = _mm256_shuffle_ps(a, b, 0x88), odd = _mm256_shuffle_ps(a, b, 0xdd);
    // The shuffles work on the two halves of a register by themselves; 0xd8 puts the quarters back in order.
    _mm256_storeu_pd(reinterpret_cast<double*>(out), _mm256_permute4x64_pd(_mm256_castps_pd(even), 0xd8));
    _mm256_storeu_pd(reinterpret_cast<double*>(out + 32), _mm256_permute4x64_pd(_mm256_castps_pd(odd), 0xd8));
  }

  static Query load_query(const char* packed) {
    return {_mm256_loadu_ps(reinterpret_cast<const float*>(packed)),
            _mm256_loadu_ps(reinterpret_cast<const float*>(packed + 32))};
  }

  static Row load_row(const uint16_t* x) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
    const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(bits, 16)), _mm256_castsi256_ps(_mm256_and_si256(bits, high))};
  }

  static Sum multiply(const Row& x, const Query& q, Sum sum) {
    return _mm256_fmadd_ps(x.odd, q.odd, _mm256_fmadd_ps(x.even, q.even, sum));
  }

  static __m128 sum_of_four(Sum a, Sum b, Sum c, Sum d) {
    const __m256 four = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1));
  }

  static Sum square(const Row& x, Sum sum) {
    return _mm256_fmadd_ps(x.odd, x.odd, _mm256_fmadd_ps(x.even, x.even, sum));
  }

  static constexpr size_t lanes = 8;
  static __m256 minus_infinity() { return _mm256_set1_ps(-__builtin_inff()); }
  static __m256 larger(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
  static void store(float* p, __m256 a) { _mm256_storeu_ps(p, a); }

  /// D - half_norms of the rows from `row` on, -inf past the last one.
  static __m256 differences(const ScanArgs* args, const float* dots, size_t row) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i live = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(args->rows - row)), lane);
    const __m256 difference = _mm256_sub_ps(_mm256_loadu_ps(dots + row), _mm256_loadu_ps(args->half_norms + row));
    return _mm256_blendv_ps(minus_infinity(), difference, _mm256_castsi256_ps(live));
  }

  static constexpr size_t abandon_rows = 4;

  static size_t keep(const ScanArgs* args, const AbandonArgs& plan, float rest, HopefulRows& hopeful, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i += 8) {
      // Rows past the last are whatever was there before: valid numbers, whose bits are masked off.
      const __m256i rows = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(hopeful.rows + i));
      const __m256 dots = _mm256_loadu_ps(hopeful.dots + i), squares = _mm256_loadu_ps(hopeful.squares + i);
      const __m256 norms = _mm256_i32gather_ps(plan.norms, rows, 4);
      const __m256 half_norms = _mm256_i32gather_ps(args->half_norms, rows, 4);
      const __m256 bounds = _mm256_i32gather_ps(hopeful.bounds, _mm256_srli_epi32(rows, 5), 4);
      const __m256 left =
          _mm256_fmadd_ps(norms, _mm256_set1_ps(plan.scale), _mm256_sub_ps(_mm256_set1_ps(abandon_spare), squares));
      const __m256 longest = _mm256_sqrt_ps(_mm256_max_ps(left, _mm256_setzero_ps()));
      const __m256 most = _mm256_fmadd_ps(longest, _mm256_set1_ps(rest), dots);
      const __m256 passed = _mm256_cmp_ps(_mm256_sub_ps(most, half_norms), bounds, _CMP_NLT_UQ);
      auto keep = static_cast<unsigned>(_mm256_movemask_ps(passed));
      if (count - i < 8) keep &= (1u << (count - i)) - 1;
      for (; keep != 0; keep &= keep - 1) {
        const size_t at = i + static_cast<size_t>(__builtin_ctz(keep));
        hopeful.rows[kept] = hopeful.rows[at];
        hopeful.dots[kept] = hopeful.dots[at];
        hopeful.squares[kept++] = hopeful.squares[at];
      }
    }
    return kept;
  }

  static size_t select(const ScanArgs* args, size_t first, size_t rows, size_t query, const float* dots, float bound,
                       size_t found) {
    for (size_t r = 0; r < rows; r += 8) {
      const __m256 difference = _mm256_sub_ps(_mm256_loadu_ps(dots + r), _mm256_loadu_ps(args->half_norms + first + r));
      const __m256 passed = _mm256_cmp_ps(difference, _mm256_set1_ps(bound), _CMP_NLT_UQ);
      auto keep = static_cast<unsigned>(_mm256_movemask_ps(passed));
      if (rows - r < 8) keep &= (1u << (rows - r)) - 1;
      for (; keep != 0; keep &= keep - 1) {
        const size_t row = r + static_cast<size_t>(__builtin_ctz(keep));
        args->dots[found] = dots[row];
        args->tags[found++] = static_cast<uint32_t>((first + row) * max_tile + query);
      }
    }
    return found;
  }
};

}  // namespace

const FewKernels few_avx2 = {FewQueries<Avx2>::packed_bytes, FewQueries<Avx2>::pack,   FewQueries<Avx2>::multiply,
                             AbandonRows<Avx2>::multiply,    FewQueries<Avx2>::select, FewQueries<Avx2>::maxima};

}  // namespace ivf::detail::cpu

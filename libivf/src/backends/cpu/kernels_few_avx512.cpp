// AVX-512 F, BW, VL and DQ: few queries against rows where they lie.

#include "backends/cpu/few_avx512.h"

namespace ivf::detail::cpu {
namespace {

struct Avx512 : Avx512Sums {
  using Element = float;
  struct Query {
    __m512 even, odd;
  };
  using Row = Query;
  static constexpr size_t query_bytes = part * sizeof(float);

  // Even dimensions before odd ones: the two halves of 32-bit words become float32 with a shift and a mask.
  static void pack(const float* query, char* out) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512 a = _mm512_loadu_ps(query), b = _mm512_loadu_ps(query + 16);
    _mm512_storeu_ps(out, _mm512_permutex2var_ps(a, even, b));
    _mm512_storeu_ps(out + 64, _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b));
  }

  static Query load_query(const char* packed) { return {_mm512_loadu_ps(packed), _mm512_loadu_ps(packed + 64)}; }

  static Row load_row(const uint16_t* x) {
    const __m512i bits = _mm512_loadu_si512(x);
    const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(bits, 16)), _mm512_castsi512_ps(_mm512_and_si512(bits, high))};
  }

  static Sum multiply(const Row& x, const Query& q, Sum sum) {
    return _mm512_fmadd_ps(x.odd, q.odd, _mm512_fmadd_ps(x.even, q.even, sum));
  }

  static Sum square(const Row& x, Sum sum) {
    return _mm512_fmadd_ps(x.odd, x.odd, _mm512_fmadd_ps(x.even, x.even, sum));
  }
};

}  // namespace

const FewKernels few_avx512 = {FewQueries<Avx512>::packed_bytes, FewQueries<Avx512>::pack,
                               FewQueries<Avx512>::multiply,     AbandonRows<Avx512>::multiply,
                               FewQueries<Avx512>::select,       FewQueries<Avx512>::maxima};

}  // namespace ivf::detail::cpu

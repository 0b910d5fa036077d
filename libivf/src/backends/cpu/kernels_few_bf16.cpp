// AVX512-BF16: few queries, rounded to bf16, against rows where they lie. vdpbf16ps rounds every sum to nearest and
// counts denormal inputs and results as zero, as the tile product does.

#include "backends/cpu/few_avx512.h"

namespace ivf::detail::cpu {
namespace {

struct Bf16 : Avx512Sums {
  using Element = uint16_t;
  using Query = __m512bh;
  using Row = __m512bh;
  static constexpr size_t query_bytes = part * sizeof(uint16_t);

  static void pack(const uint16_t* query, char* out) { memcpy(out, query, query_bytes); }
  static Query load_query(const char* packed) { return load(packed); }
  static Row load_row(const uint16_t* x) { return load(x); }
  static Sum multiply(Row x, Query q, Sum sum) { return _mm512_dpbf16_ps(sum, x, q); }
  static Sum square(Row x, Sum sum) { return _mm512_dpbf16_ps(sum, x, x); }

 private:
  static __m512bh load(const void* p) {
    const __m512i bits = _mm512_loadu_si512(p);
    __m512bh pairs;
    memcpy(&pairs, &bits, sizeof pairs);
    return pairs;
  }
};

}  // namespace

const FewKernels few_bf16 = {FewQueries<Bf16>::packed_bytes, FewQueries<Bf16>::pack,   FewQueries<Bf16>::multiply,
                             AbandonRows<Bf16>::multiply,    FewQueries<Bf16>::select, FewQueries<Bf16>::maxima};

}  // namespace ivf::detail::cpu

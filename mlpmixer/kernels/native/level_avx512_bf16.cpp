// AVX-512 BF16: one instruction multiplies and adds 32 pairs.
#include "levels.h"
#include "vector_avx512.h"

namespace {

#define OWN_BFLOAT16
inline I to_bfloat16(F v) {
    return _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
}
inline void store_bfloat16(uint16_t *p, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
}

}  // namespace

#include "table.h"

namespace {

struct Bfloat16Dot : FloatSums {
    static constexpr int group = 2;
    static F dot(F sum, I left, I right) {
        return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(left),
                                reinterpret_cast<__m512bh>(right));
    }
};

}  // namespace

const Kernels *avx512_bfloat16() { return bfloat16_table<Bfloat16Dot, 14, 2>("avx512_bf16"); }

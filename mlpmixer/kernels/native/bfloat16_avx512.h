// Rounding to bfloat16 by AVX-512 BF16's own instruction; to be included before elementwise.h.
#pragma once

#include "vector_avx512.h"

#define OWN_BFLOAT16

namespace {

inline I to_bfloat16(F v) {
    return _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
}
inline void store_bfloat16(uint16_t *p, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
}
inline void store_bfloat16s(char *p, F first, F second) {
    _mm512_storeu_si512(p, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first)));
}
inline I bfloat16_pairs(F first, F second) {
    const I order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                     7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const I rounded = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
    return _mm512_permutexvar_epi16(order, rounded);
}

}  // namespace

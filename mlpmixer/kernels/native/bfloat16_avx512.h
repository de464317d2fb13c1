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

}  // namespace

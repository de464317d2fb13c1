// Sixteen lanes: AVX-512F, BW, DQ and VL.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

constexpr int LANES = 16;
using F = __m512;
using I = __m512i;

inline F zero() { return _mm512_setzero_ps(); }
inline F load(const float *p) { return _mm512_loadu_ps(p); }
inline void store(float *p, F v) { _mm512_storeu_ps(p, v); }
inline F all(float v) { return _mm512_set1_ps(v); }
inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
inline F lower(F a, F b) { return _mm512_min_ps(a, b); }
inline F higher(F a, F b) { return _mm512_max_ps(a, b); }
inline float sum(F v) { return _mm512_reduce_add_ps(v); }
inline float lowest(F v) { return _mm512_reduce_min_ps(v); }
inline float highest(F v) { return _mm512_reduce_max_ps(v); }

inline I no_lanes() { return _mm512_setzero_si512(); }
inline I load_lanes(const void *p) { return _mm512_loadu_si512(p); }
inline void store_lanes(void *p, I v) { _mm512_storeu_si512(p, v); }
inline I all_lanes(const void *p) {
    int32_t lane;
    __builtin_memcpy(&lane, p, 4);
    return _mm512_set1_epi32(lane);
}
inline F to_float(I v) { return _mm512_cvtepi32_ps(v); }
inline I rounded(F v) { return _mm512_cvtps_epi32(v); }
inline F as_float(I v) { return _mm512_castsi512_ps(v); }
inline I as_lanes(F v) { return _mm512_castps_si512(v); }
template <int N> inline I left_shift(I v) { return _mm512_slli_epi32(v, N); }
template <int N> inline I right_shift(I v) { return _mm512_srli_epi32(v, N); }
inline I either(I a, I b) { return _mm512_or_si512(a, b); }
inline I both(I a, I b) { return _mm512_and_si512(a, b); }
inline I plus(I a, I b) { return _mm512_add_epi32(a, b); }
inline I lanes_of(int32_t v) { return _mm512_set1_epi32(v); }

// The compiler forgets what it knows of the value.
inline void make_unknown(I &v) { asm volatile("" : "+v"(v)); }

// The low 8 or 16 bits of each lane, one after another.
inline void store_bytes(uint8_t *p, I v) {
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm512_cvtepi32_epi8(v));
}
inline void store_halves(uint16_t *p, I v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm512_cvtepi32_epi16(v));
}

}  // namespace

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

// Turns sixteen rows of sixteen values into columns.
inline void transpose(F (&v)[LANES]) {
    F pairs[LANES], quads[LANES];
    for (int i = 0; i < LANES; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
    const auto low = [](F a, F b) {
        return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    };
    const auto high = [](F a, F b) {
        return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    };
    for (int i = 0; i < LANES; i += 4) {  // quads[i + c]: column c of four rows, in each 128 bits
        quads[i] = low(pairs[i], pairs[i + 2]);
        quads[i + 1] = high(pairs[i], pairs[i + 2]);
        quads[i + 2] = low(pairs[i + 1], pairs[i + 3]);
        quads[i + 3] = high(pairs[i + 1], pairs[i + 3]);
    }
    for (int c = 0; c < 4; ++c) {
        const F even1 = _mm512_shuffle_f32x4(quads[c], quads[c + 4], 0x88);
        const F odd1 = _mm512_shuffle_f32x4(quads[c], quads[c + 4], 0xdd);
        const F even2 = _mm512_shuffle_f32x4(quads[c + 8], quads[c + 12], 0x88);
        const F odd2 = _mm512_shuffle_f32x4(quads[c + 8], quads[c + 12], 0xdd);
        v[c] = _mm512_shuffle_f32x4(even1, even2, 0x88);
        v[c + 8] = _mm512_shuffle_f32x4(even1, even2, 0xdd);
        v[c + 4] = _mm512_shuffle_f32x4(odd1, odd2, 0x88);
        v[c + 12] = _mm512_shuffle_f32x4(odd1, odd2, 0xdd);
    }
}

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

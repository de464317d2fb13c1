// Eight lanes: AVX2 and FMA.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

constexpr int LANES = 8;
using F = __m256;
using I = __m256i;

inline F zero() { return _mm256_setzero_ps(); }
inline F load(const float *p) { return _mm256_loadu_ps(p); }
inline void store(float *p, F v) { _mm256_storeu_ps(p, v); }
inline F all(float v) { return _mm256_set1_ps(v); }
inline F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline F lower(F a, F b) { return _mm256_min_ps(a, b); }
inline F higher(F a, F b) { return _mm256_max_ps(a, b); }

inline float sum(F v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
inline float lowest(F v) {
    __m128 half = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_min_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_min_ss(half, _mm_movehdup_ps(half)));
}
inline float highest(F v) { return -lowest(_mm256_sub_ps(_mm256_setzero_ps(), v)); }

// Turns eight rows of eight values into columns.
inline void transpose(F (&v)[LANES]) {
    F pairs[LANES], quads[LANES];
    for (int i = 0; i < LANES; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4) {  // quads[i + c]: column c of four rows, in each 128 bits
        quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
        quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
    for (int c = 0; c < 4; ++c) {
        v[c] = _mm256_permute2f128_ps(quads[c], quads[c + 4], 0x20);
        v[c + 4] = _mm256_permute2f128_ps(quads[c], quads[c + 4], 0x31);
    }
}

inline I no_lanes() { return _mm256_setzero_si256(); }
inline I load_lanes(const void *p) {
    return _mm256_loadu_si256(static_cast<const __m256i *>(p));
}
inline void store_lanes(void *p, I v) { _mm256_storeu_si256(static_cast<__m256i *>(p), v); }
inline I all_lanes(const void *p) {
    int32_t lane;
    __builtin_memcpy(&lane, p, 4);
    return _mm256_set1_epi32(lane);
}
inline F to_float(I v) { return _mm256_cvtepi32_ps(v); }
inline I rounded(F v) { return _mm256_cvtps_epi32(v); }
inline F as_float(I v) { return _mm256_castsi256_ps(v); }
inline I as_lanes(F v) { return _mm256_castps_si256(v); }
template <int N> inline I left_shift(I v) { return _mm256_slli_epi32(v, N); }
template <int N> inline I right_shift(I v) { return _mm256_srli_epi32(v, N); }
inline I either(I a, I b) { return _mm256_or_si256(a, b); }
inline I both(I a, I b) { return _mm256_and_si256(a, b); }
inline I plus(I a, I b) { return _mm256_add_epi32(a, b); }
inline I lanes_of(int32_t v) { return _mm256_set1_epi32(v); }

// The compiler forgets what it knows of the value.
inline void make_unknown(I &v) { asm volatile("" : "+x"(v)); }

// The low 8 or 16 bits of each lane, one after another.
inline void store_halves(uint16_t *p, I v) {
    const I masked = both(v, lanes_of(0xffff));
    const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(masked),
                                            _mm256_extracti128_si256(masked, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p), packed);
}
inline void store_bytes(uint8_t *p, I v) {
    const I masked = both(v, lanes_of(0xff));
    const __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(masked),
                                            _mm256_extracti128_si256(masked, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i *>(p), _mm_packus_epi16(halves, halves));
}

}  // namespace

// Four lanes in the compiler's own vectors: any processor.
#pragma once

#include <cmath>
#include <cstdint>

namespace {

constexpr int LANES = 4;
typedef float F __attribute__((vector_size(16)));
typedef int32_t I __attribute__((vector_size(16)));
typedef uint32_t U __attribute__((vector_size(16)));

inline F zero() { return F{0, 0, 0, 0}; }
inline F all(float v) { return F{v, v, v, v}; }
inline F load(const float *p) {
    F v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
inline void store(float *p, F v) { __builtin_memcpy(p, &v, sizeof v); }
inline F fma(F a, F b, F c) { return a * b + c; }
inline F lower(F a, F b) { return a < b ? a : b; }
inline F higher(F a, F b) { return a > b ? a : b; }
inline float sum(F v) { return (v[0] + v[1]) + (v[2] + v[3]); }
inline float lowest(F v) {
    const F pairs = lower(v, F{v[2], v[3], v[0], v[1]});
    return pairs[0] < pairs[1] ? pairs[0] : pairs[1];
}
inline float highest(F v) { return -lowest(-v); }

// Turns four rows of four values into columns.
inline void transpose(F (&v)[LANES]) {
    for (int i = 0; i < LANES; ++i)
        for (int j = 0; j < i; ++j) {
            const float below = v[i][j];
            v[i][j] = v[j][i];
            v[j][i] = below;
        }
}

inline I no_lanes() { return I{0, 0, 0, 0}; }
inline I load_lanes(const void *p) {
    I v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
inline void store_lanes(void *p, I v) { __builtin_memcpy(p, &v, sizeof v); }
inline I lanes_of(int32_t v) { return I{v, v, v, v}; }
inline I all_lanes(const void *p) {
    int32_t lane;
    __builtin_memcpy(&lane, p, 4);
    return lanes_of(lane);
}
inline F to_float(I v) { return F{float(v[0]), float(v[1]), float(v[2]), float(v[3])}; }
inline I rounded(F v) {
    I out;
    for (int i = 0; i < LANES; ++i) out[i] = static_cast<int32_t>(std::lrintf(v[i]));
    return out;
}
inline F as_float(I v) { return reinterpret_cast<F>(v); }
inline I as_lanes(F v) { return reinterpret_cast<I>(v); }
template <int N> inline I left_shift(I v) {
    return reinterpret_cast<I>(reinterpret_cast<U>(v) << N);
}
template <int N> inline I right_shift(I v) {
    return reinterpret_cast<I>(reinterpret_cast<U>(v) >> N);
}
inline I either(I a, I b) { return a | b; }
inline I both(I a, I b) { return a & b; }
inline I plus(I a, I b) { return reinterpret_cast<I>(reinterpret_cast<U>(a) + reinterpret_cast<U>(b)); }

// The compiler forgets what it knows of the value.
inline void make_unknown(I &v) { asm volatile("" : "+m"(v)); }

// The low 8 or 16 bits of each lane, one after another.
inline void store_halves(uint16_t *p, I v) {
    for (int i = 0; i < LANES; ++i) p[i] = static_cast<uint16_t>(v[i]);
}
inline void store_bytes(uint8_t *p, I v) {
    for (int i = 0; i < LANES; ++i) p[i] = static_cast<uint8_t>(v[i]);
}

}  // namespace

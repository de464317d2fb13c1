// AVX-512 VNNI: one instruction multiplies and adds 16 times 4 bytes.
#include "levels.h"
#include "vector_avx512.h"
//
#include "table.h"

namespace {

template <bool SIGNED_LEFT> struct Int8Dot : IntegerSums {
    static constexpr int group = 4;
    static I dot(I sum, I left, I right) {
        return SIGNED_LEFT ? _mm512_dpbusd_epi32(sum, right, left)
                           : _mm512_dpbusd_epi32(sum, left, right);
    }
};

}  // namespace

const Kernels *avx512_int8() { return int8_table<Int8Dot, 14, 2>("avx512_vnni", 127); }

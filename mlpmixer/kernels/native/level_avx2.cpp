// AVX2 and FMA: tiles of 6 x 16 sums in 12 of the 16 registers; of 4 x 16 where a product needs
// registers of its own besides.
#include "levels.h"
#include "vector_avx2.h"
//
#include "table.h"

namespace {

// Pairs of byte products are added in 16 bits with saturation: 2·255·63 fits, so weights have 7 bits.
template <bool SIGNED_LEFT> struct Int8Dot : IntegerSums {
    static constexpr int group = 4;
    static I dot(I sum, I left, I right) {
        const I pairs =
            SIGNED_LEFT ? _mm256_maddubs_epi16(right, left) : _mm256_maddubs_epi16(left, right);
        return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
};

}  // namespace

const Kernels *avx2_float32() { return float32_table<Float32Dot, 6, 2>("avx2"); }
const Kernels *avx2_bfloat16() { return bfloat16_table<WidenedBfloat16Dot, 4, 2>("avx2"); }
const Kernels *avx2_int8() { return int8_table<Int8Dot, 4, 2>("avx2", 63); }

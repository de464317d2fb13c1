// AVX-512 BF16: one instruction multiplies and adds 32 pairs.
#include "levels.h"
#include "bfloat16_avx512.h"
//
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

// Plain C++: the loop nest's reference, and what is left where nothing else runs.
#include "levels.h"
#include "vector_portable.h"
//
#include "table.h"

namespace {

template <bool SIGNED_LEFT> struct Int8Dot : IntegerSums {
    static constexpr int group = 4;
    static I dot(I sum, I left, I right) {
        for (int i = 0; i < LANES; ++i)
            for (int shift = 0; shift < 32; shift += 8) {
                const int a = left[i] >> shift & 255, b = right[i] >> shift & 255;
                sum[i] += SIGNED_LEFT ? int8_t(a) * b : a * int8_t(b);
            }
        return sum;
    }
};

}  // namespace

const Kernels *portable_float32() { return float32_table<Float32Dot, 6, 4>("portable"); }
const Kernels *portable_bfloat16() { return bfloat16_table<WidenedBfloat16Dot, 6, 4>("portable"); }
const Kernels *portable_int8() { return int8_table<Int8Dot, 6, 2>("portable", 127); }

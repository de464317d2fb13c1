// AVX-512 for floats: a tile of 14 x 32 sums in 28 registers.
#include "levels.h"
#include "vector_avx512.h"
//
#include "table.h"

const Kernels *avx512_float32() { return float32_table<Float32Dot, 14, 2>("avx512"); }

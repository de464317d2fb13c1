// One entry a level and precision; each lives in a file with compiler flags of its own.
#pragma once

#include "kernels.h"

const Kernels *portable_float32();
const Kernels *portable_bfloat16();
const Kernels *portable_int8();
const Kernels *avx2_float32();
const Kernels *avx2_bfloat16();
const Kernels *avx2_int8();
const Kernels *avx512_float32();
const Kernels *avx512_bfloat16();
const Kernels *avx512_int8();
// Null where this build has no tiles.
const Kernels *amx_bfloat16();
const Kernels *amx_int8();
const Kernels *amx_emulated_bfloat16();
const Kernels *amx_emulated_int8();

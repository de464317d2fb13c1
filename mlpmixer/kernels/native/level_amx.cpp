// AMX: an instruction multiplies two tiles; all else is AVX-512. Without an assembler that knows the
// tiles this level is not in the build.
#include "levels.h"

#ifdef ASSEMBLES_TILES

#include "bfloat16_avx512.h"
//
#include "table.h"
//
#include "multiply_tiles.h"
#include "tiles_amx.h"

const Kernels *amx_bfloat16() { return bfloat16_tiles_table<AmxTiles>("amx"); }
const Kernels *amx_int8() { return int8_tiles_table<AmxTiles>("amx"); }

#else

const Kernels *amx_bfloat16() { return nullptr; }
const Kernels *amx_int8() { return nullptr; }

#endif

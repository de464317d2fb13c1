// The level of AMX with the tiles and all else in plain C++, so that it is tested where none are.
#include "levels.h"
#include "vector_portable.h"
//
#include "table.h"
//
#include "multiply_tiles.h"
#include "tiles_emulated.h"

const Kernels *amx_emulated_bfloat16() {
    return bfloat16_tiles_table<EmulatedTiles>("amx_emulated");
}
const Kernels *amx_emulated_int8() { return int8_tiles_table<EmulatedTiles>("amx_emulated"); }

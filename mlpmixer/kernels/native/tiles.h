// What a micro-kernel asks of a processor with tiles, and how the tiles are configured.
//
// There are eight tiles of at most 16 rows of 64 bytes. A left tile (16 rows of 16 lanes) times a
// right one (16 lanes of 16 columns) is added to a tile of 16 x 16 sums of 32 bits.
#pragma once

#include <cstdint>

constexpr int TILES = 8, TILE_SIDE = 16, TILE_BYTES = 1024;

enum TileDot { BFLOAT16_PAIRS, UNSIGNED_BY_SIGNED, SIGNED_BY_UNSIGNED };

// The operand of LDTILECFG, as Intel's manual describes it.
struct alignas(64) TileConfig {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

constexpr TileConfig WHOLE_TILES = {
    1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

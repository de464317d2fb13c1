// The tiles in plain C++, as Intel's manual describes the instructions: for tests, on any processor.
#pragma once

#include <cstdlib>
#include <cstring>

#include "tiles.h"

namespace {

// Denormals count as zero, in operands and in results.
inline float without_denormals(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bits = bits & 0x7f800000 ? bits : bits & 0x80000000;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline float of_bfloat16(uint32_t bits) {
    float value;
    bits <<= 16;
    std::memcpy(&value, &bits, 4);
    return without_denormals(value);
}

// A thread's tiles. What the processor refuses ends the program.
class TileState {
  public:
    void configure(const TileConfig &given) {
        config = given;
        std::memset(tiles, 0, sizeof tiles);
    }
    void release() { configure({}); }
    void zero(int tile) { check(tile), std::memset(tiles[tile], 0, TILE_BYTES); }
    void load(int tile, const void *from, int64_t stride) {
        zero(tile);
        for (int r = 0; r < config.rows[tile]; ++r)
            std::memcpy(tiles[tile][r], static_cast<const char *>(from) + r * stride,
                        config.row_bytes[tile]);
    }
    void store(int tile, void *to, int64_t stride) const {
        check(tile);
        for (int r = 0; r < config.rows[tile]; ++r)
            std::memcpy(static_cast<char *>(to) + r * stride, tiles[tile][r],
                        config.row_bytes[tile]);
    }
    void dot(TileDot kind, int sum, int left, int right) {
        check(sum), check(left), check(right);
        const int lanes = config.rows[right];
        if (sum == left || sum == right || left == right) std::abort();
        if (config.rows[sum] != config.rows[left] || config.row_bytes[left] != 4 * lanes ||
            config.row_bytes[sum] != config.row_bytes[right])
            std::abort();
        if (kind == BFLOAT16_PAIRS)
            dot_pairs(sum, left, right);
        else
            dot_bytes(kind == SIGNED_BY_UNSIGNED, sum, left, right);
    }

  private:
    void check(int tile) const {
        if (config.palette != 1 || tile < 0 || tile >= TILES || !config.rows[tile]) std::abort();
    }

    // The first and the second values of the pairs have sums of their own, which are added last; the
    // product of two bfloat16 is exact in float.
    void dot_pairs(int sum, int left, int right) {
        const int lanes = config.rows[right];
        float first[TILE_SIDE][TILE_SIDE], second[TILE_SIDE][TILE_SIDE];
        for (int k = 0; k < lanes; ++k)
            for (int n = 0; n < TILE_SIDE; ++n) {
                first[k][n] = of_bfloat16(tiles[right][k][n] & 0xffff);
                second[k][n] = of_bfloat16(tiles[right][k][n] >> 16);
            }
        for (int m = 0; m < config.rows[sum]; ++m) {
            float sums[2][TILE_SIDE] = {};
            for (int k = 0; k < lanes; ++k) {
                const float a = of_bfloat16(tiles[left][m][k] & 0xffff);
                const float b = of_bfloat16(tiles[left][m][k] >> 16);
                for (int n = 0; n < TILE_SIDE; ++n) {
                    sums[0][n] = without_denormals(sums[0][n] + a * first[k][n]);
                    sums[1][n] = without_denormals(sums[1][n] + b * second[k][n]);
                }
            }
            for (int n = 0; n < config.row_bytes[sum] / 4; ++n) {
                float total;
                std::memcpy(&total, &tiles[sum][m][n], 4);
                const float both = without_denormals(sums[0][n] + sums[1][n]);
                total = without_denormals(without_denormals(total) + both);
                std::memcpy(&tiles[sum][m][n], &total, 4);
            }
        }
    }

    // Sums of 32 bits wrap; nothing saturates.
    void dot_bytes(bool signed_left, int sum, int left, int right) {
        for (int m = 0; m < config.rows[sum]; ++m)
            for (int k = 0; k < config.rows[right]; ++k)
                for (int shift = 0; shift < 32; shift += 8) {
                    const int a = tiles[left][m][k] >> shift & 255;
                    for (int n = 0; n < config.row_bytes[sum] / 4; ++n) {
                        const int b = tiles[right][k][n] >> shift & 255;
                        tiles[sum][m][n] +=
                            uint32_t(signed_left ? int8_t(a) * b : a * int8_t(b));
                    }
                }
    }

    TileConfig config = {};
    uint32_t tiles[TILES][TILE_SIDE][TILE_SIDE] = {};
};

struct EmulatedTiles {
    static constexpr int64_t slower = 1000;  // a ceiling takes so many rounds fewer
    static TileState &state() {
        static thread_local TileState tiles;
        return tiles;
    }

    static void begin() { state().configure(WHOLE_TILES); }
    static void end() { state().release(); }
    template <int TILE> static void zero() { state().zero(TILE); }
    template <int TILE> static void load(const void *from, int64_t stride) {
        state().load(TILE, from, stride);
    }
    template <int TILE> static void load_past(const void *from, int64_t stride) {
        load<TILE>(from, stride);
    }
    template <int TILE> static void store(void *to, int64_t stride) {
        state().store(TILE, to, stride);
    }
    template <TileDot KIND, int SUM, int LEFT, int RIGHT> static void dot() {
        state().dot(KIND, SUM, LEFT, RIGHT);
    }
};

}  // namespace

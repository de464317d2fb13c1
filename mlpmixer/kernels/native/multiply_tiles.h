// The micro-kernel over tiles: 32 x 32 sums, a square of 2 x 2 tiles.
//
// A step, four loads and four products of tiles, takes the processor 64 cycles at best. L2 gives some
// 42 bytes a cycle, which is not enough for both operands: the right panel's part of at most 24 KB
// stays in L1, and the left operand goes past it, so that it stays there.
#pragma once

#include <cstdint>

#include "kernels.h"
#include "tiles.h"

namespace {

// Tiles: the instructions or what stands for them.
template <class Tiles, TileDot KIND> struct MultiplyTiles {
    static constexpr int tile_rows = 2 * TILE_SIDE, tile_cols = 2 * TILE_SIDE;
    static constexpr int block_cols = TILE_SIDE, ahead_lines = 2;
    static constexpr int part_bytes = 24 << 10;  // half of L1
    static constexpr int rows_at_once = 392, hidden_at_once = 768, rows_of_a_group = 784;
    static constexpr int group = KIND == BFLOAT16_PAIRS ? 2 : 4;
    static constexpr int64_t block_bytes = 2 * TILE_BYTES;  // of either operand
    static constexpr int64_t stride = tile_cols * 4;        // bytes between rows of sums

    static void begin() { Tiles::begin(); }
    static void end() { Tiles::end(); }

    // TALL: there are rows in both left tiles.
    template <bool TALL>
    static void square(int64_t blocks, const char *left, const char *right, char *sums,
                       bool accumulate, const char *ahead) {
        char *below = sums + TILE_SIDE * stride;
        if (accumulate) {
            Tiles::template load<0>(sums, stride);
            Tiles::template load<1>(sums + LINE, stride);
            if constexpr (TALL) {
                Tiles::template load<2>(below, stride);
                Tiles::template load<3>(below + LINE, stride);
            }
        } else {
            Tiles::template zero<0>();
            Tiles::template zero<1>();
            if constexpr (TALL) {
                Tiles::template zero<2>();
                Tiles::template zero<3>();
            }
        }
        for (int64_t block = 0; block < blocks; ++block) {
            Tiles::template load<6>(right, LINE);
            Tiles::template load_past<4>(left, LINE);
            Tiles::template load<7>(right + TILE_BYTES, LINE);
            if constexpr (TALL) Tiles::template load_past<5>(left + TILE_BYTES, LINE);
            Tiles::template dot<KIND, 0, 4, 6>();
            Tiles::template dot<KIND, 1, 4, 7>();
            if constexpr (TALL) {
                Tiles::template dot<KIND, 2, 5, 6>();
                Tiles::template dot<KIND, 3, 5, 7>();
            }
#pragma GCC unroll 4
            for (int i = 0; i < ahead_lines; ++i) __builtin_prefetch(ahead + i * LINE, 0, 2);
            ahead += ahead_lines * LINE;
            left += block_bytes;
            right += block_bytes;
        }
        Tiles::template store<0>(sums, stride);
        Tiles::template store<1>(sums + LINE, stride);
        if constexpr (TALL) {
            Tiles::template store<2>(below, stride);
            Tiles::template store<3>(below + LINE, stride);
        }
    }

    static void multiply(int rows, int64_t steps, const void *left, const void *right, void *tile,
                         bool accumulate, const char *ahead) {
        const int64_t blocks = (steps + BLOCK - 1) / BLOCK;
        (rows > TILE_SIDE ? square<true> : square<false>)(
            blocks, static_cast<const char *>(left), static_cast<const char *>(right),
            static_cast<char *>(tile), accumulate, ahead);
    }

    // The products of a step, again and again.
    static double ceiling(int64_t rounds) {
        rounds /= Tiles::slower;
        Tiles::begin();
        for (int64_t round = 0; round < rounds; ++round) {
            Tiles::template dot<KIND, 0, 4, 6>();
            Tiles::template dot<KIND, 1, 4, 7>();
            Tiles::template dot<KIND, 2, 5, 6>();
            Tiles::template dot<KIND, 3, 5, 7>();
        }
        Tiles::end();
        return 2.0 * double(rounds) * 4 * TILE_SIDE * TILE_SIDE * TILE_SIDE * group;
    }
};

template <class Tiles> const Kernels *bfloat16_tiles_table(const char *level) {
    using Product = MultiplyTiles<Tiles, BFLOAT16_PAIRS>;
    constexpr int rows = Product::tile_rows;
    using Tile = FinishTile<FloatSums, false, ShortTanhGelu, ShortGelu, Bfloat16Operands<rows>,
                            Product::tile_cols, Product::block_cols>;
    static const Kernels kernels =
        with_training<Bfloat16Lanes, ShortTanhGelu, ShortTanhGeluSlope, ShortGelu,
                      ShortGeluSlope, rows, Product::tile_cols, Product::block_cols>(
            table<Product, Product, Bfloat16Operands<rows>, Tile>(level, BFLOAT16, rows, 2, 0));
    return &kernels;
}

template <class Tiles> const Kernels *int8_tiles_table(const char *level) {
    using Product = MultiplyTiles<Tiles, UNSIGNED_BY_SIGNED>;
    using Signed = MultiplyTiles<Tiles, SIGNED_BY_UNSIGNED>;
    constexpr int rows = Product::tile_rows;
    using Tile = FinishTile<IntegerSums, true, ShortTanhGelu, ShortGelu, Int8Operands<rows>,
                            Product::tile_cols, Product::block_cols>;
    static const Kernels kernels =
        table<Product, Signed, Int8Operands<rows>, Tile>(level, INT8, rows, 4, 127);
    return &kernels;
}

}  // namespace

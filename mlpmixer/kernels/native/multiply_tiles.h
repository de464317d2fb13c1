// The micro-kernel over tiles: 32 x 64 sums, taken as two squares of 2 x 2 tiles.
//
// A step of a square, four loads and four products of tiles, takes the processor 64 cycles at best,
// if the loads come from L1, whose 48 KB hold the right panel's part of 24 KB, a left part of 12 KB and
// the sums. The left part is read from L2 for the first square alone: 16 lines a step, with the sums 32
// at most, where a loop that reads both operands from L2 needs 64. What lies in L2 is fetched before
// it is needed: the first square fetches the left operand two blocks ahead of itself.
#pragma once

#include <cstdint>

#include "kernels.h"
#include "tiles.h"

namespace {

// Tiles: the instructions or what stands for them.
template <class Tiles, TileDot KIND> struct MultiplyTiles {
    static constexpr int tile_rows = 2 * TILE_SIDE, tile_cols = 4 * TILE_SIDE;
    static constexpr int block_cols = TILE_SIDE, ahead_lines = 16;
    static constexpr int group = KIND == BFLOAT16_PAIRS ? 2 : 4;
    static constexpr int64_t left_block = 2 * TILE_BYTES, right_block = 4 * TILE_BYTES;
    static constexpr int64_t stride = tile_cols * 4;  // bytes between rows of sums
    static constexpr int blocks_ahead = 2;

    static void begin() { Tiles::begin(); }
    static void end() { Tiles::end(); }

    template <int LINES, int LEVEL>
    static inline __attribute__((always_inline)) void fetch(const char *from) {
#pragma GCC unroll 32
        for (int i = 0; i < LINES; ++i) __builtin_prefetch(from + i * LINE, 0, LEVEL);
    }

    // TALL: there are rows in both left tiles. FIRST: of the two squares.
    template <bool TALL, bool FIRST>
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
            Tiles::template load<4>(left, LINE);
            Tiles::template dot<KIND, 0, 4, 6>();
            Tiles::template load<7>(right + TILE_BYTES, LINE);
            Tiles::template dot<KIND, 1, 4, 7>();
            if constexpr (TALL) {
                Tiles::template load<5>(left + TILE_BYTES, LINE);
                Tiles::template dot<KIND, 2, 5, 6>();
                Tiles::template dot<KIND, 3, 5, 7>();
            }
            if (FIRST && block + blocks_ahead < blocks)
                fetch<(TALL ? 2 : 1) * TILE_SIDE, 3>(left + blocks_ahead * left_block);
            fetch<ahead_lines / 2, 2>(ahead);
            left += left_block;
            right += right_block;
            ahead += ahead_lines / 2 * LINE;
        }
        Tiles::template store<0>(sums, stride);
        Tiles::template store<1>(sums + LINE, stride);
        if constexpr (TALL) {
            Tiles::template store<2>(below, stride);
            Tiles::template store<3>(below + LINE, stride);
        }
    }

    template <bool TALL>
    static void squares(int64_t blocks, const char *left, const char *right, char *sums,
                        bool accumulate, const char *ahead) {
        square<TALL, true>(blocks, left, right, sums, accumulate, ahead);
        square<TALL, false>(blocks, left, right + 2 * TILE_BYTES, sums + 2 * LINE, accumulate,
                            ahead + blocks * (ahead_lines / 2) * LINE);
    }

    static void multiply(int rows, int64_t steps, const void *left, const void *right, void *tile,
                         bool accumulate, const char *ahead) {
        const int64_t blocks = (steps + BLOCK - 1) / BLOCK;
        (rows > TILE_SIDE ? squares<true> : squares<false>)(
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
    using Tile = FinishTile<FloatSums, false, ShortTanhGelu, ShortGelu, Product::tile_cols>;
    constexpr int rows = Product::tile_rows;
    static const Kernels kernels =
        with_training<Bfloat16Training, ShortTanhGelu, ShortTanhGeluSlope, ShortGelu,
                      ShortGeluSlope, rows, Product::tile_cols, Product::block_cols>(
            table<Product, Product, Bfloat16Operands<rows>, Tile>(level, BFLOAT16, rows, 2, 0));
    return &kernels;
}

template <class Tiles> const Kernels *int8_tiles_table(const char *level) {
    using Product = MultiplyTiles<Tiles, UNSIGNED_BY_SIGNED>;
    using Signed = MultiplyTiles<Tiles, SIGNED_BY_UNSIGNED>;
    using Tile = FinishTile<IntegerSums, true, ShortTanhGelu, ShortGelu, Product::tile_cols>;
    constexpr int rows = Product::tile_rows;
    static const Kernels kernels =
        table<Product, Signed, Int8Operands<rows>, Tile>(level, INT8, rows, 4, 127);
    return &kernels;
}

}  // namespace

// The micro-kernel: a tile of sums held in registers. Written once; a level brings its vectors, the
// tile's shape and the instruction that multiplies lanes.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace {

// Dot: Sum (a vector of sums), dot(sum, left, right) of lanes, load and store of sums.
template <class Dot, int TILE_ROWS, int VECTORS> struct Multiply {
    static constexpr int tile_cols = VECTORS * LANES, block_cols = tile_cols, ahead_lines = 4;
    static constexpr int part_bytes = 24 << 10;  // half of L1
    static constexpr int rows_at_once = 112, hidden_at_once = 768, rows_of_a_group = 196;
    static constexpr void (*begin)() = nullptr;
    static constexpr void (*end)() = nullptr;
    static constexpr int64_t block_bytes = int64_t(TILE_ROWS) * LINE;
    using Sum = typename Dot::Sum;

    template <int ROWS>
    static inline __attribute__((always_inline)) void step(Sum (&sums)[ROWS][VECTORS],
                                                           const char *left, const char *right) {
        I columns[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; ++v) columns[v] = load_lanes(right + v * LANES * 4);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) {
            const I row = all_lanes(left + r * LINE);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; ++v) sums[r][v] = Dot::dot(sums[r][v], row, columns[v]);
        }
    }

    template <int ROWS>
    static void rows(int64_t steps, const char *left, const char *right, char *tile,
                     bool accumulate, const char *ahead) {
        Sum sums[ROWS][VECTORS];
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; ++v)
                sums[r][v] = accumulate ? Dot::load_sum(tile + (r * VECTORS + v) * LANES * 4)
                                        : Dot::nothing();
        const int64_t blocks = steps / BLOCK;
        for (int64_t block = 0; block < blocks; ++block) {
            for (int i = 0; i < BLOCK; i += 4) {
                __builtin_prefetch(ahead, 0, 2);
                ahead += LINE;
#pragma GCC unroll 4
                for (int j = 0; j < 4; ++j) {
                    step<ROWS>(sums, left + (i + j) * 4, right);
                    right += tile_cols * 4;
                }
            }
            left += block_bytes;
        }
        for (int i = 0; i < steps % BLOCK; ++i) {
            step<ROWS>(sums, left + i * 4, right);
            right += tile_cols * 4;
        }
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; ++v)
                Dot::store_sum(tile + (r * VECTORS + v) * LANES * 4, sums[r][v]);
    }

    template <int ROWS>
    static void choose(int count, int64_t steps, const char *left, const char *right, char *tile,
                       bool accumulate, const char *ahead) {
        if constexpr (ROWS > 1) {
            if (count < ROWS)
                return choose<ROWS - 1>(count, steps, left, right, tile, accumulate, ahead);
        }
        rows<ROWS>(steps, left, right, tile, accumulate, ahead);
    }

    static void multiply(int count, int64_t steps, const void *left, const void *right, void *tile,
                         bool accumulate, const char *ahead) {
        choose<TILE_ROWS>(count, steps, static_cast<const char *>(left),
                          static_cast<const char *>(right), static_cast<char *>(tile), accumulate,
                          ahead);
    }

    // The operations of a step, again and again, with all operands in registers.
    static double ceiling(int64_t rounds) {
        alignas(64) char memory[(TILE_ROWS * VECTORS + 1 + VECTORS) * LANES * 4] = {};
        char *start = memory;
        asm volatile("" : "+r"(start) : : "memory");  // the compiler shall know no value
        Sum sums[TILE_ROWS][VECTORS];
#pragma GCC unroll 16
        for (int r = 0; r < TILE_ROWS; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; ++v)
                sums[r][v] = Dot::load_sum(start + (r * VECTORS + v) * LANES * 4);
        const char *behind = start + TILE_ROWS * VECTORS * LANES * 4;
        I row = load_lanes(behind), columns[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; ++v) columns[v] = load_lanes(behind + (v + 1) * LANES * 4);
        for (int64_t round = 0; round < rounds; ++round) {
            // Each step has columns of its own, and each row; what they share is not computed anew.
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; ++v) make_unknown(columns[v]);
#pragma GCC unroll 16
            for (int r = 0; r < TILE_ROWS; ++r) {
                make_unknown(row);
#pragma GCC unroll 4
                for (int v = 0; v < VECTORS; ++v) sums[r][v] = Dot::dot(sums[r][v], row, columns[v]);
            }
        }
#pragma GCC unroll 16
        for (int r = 0; r < TILE_ROWS; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; ++v)
                Dot::store_sum(start + (r * VECTORS + v) * LANES * 4, sums[r][v]);
        asm volatile("" : : "r"(start) : "memory");
        return 2.0 * double(rounds) * TILE_ROWS * tile_cols * Dot::group;
    }
};

// What float sums and int32 sums have in common.
struct FloatSums {
    using Sum = F;
    static Sum nothing() { return zero(); }
    static Sum load_sum(const char *p) { return load(reinterpret_cast<const float *>(p)); }
    static void store_sum(char *p, Sum sum) { store(reinterpret_cast<float *>(p), sum); }
    static F value(const void *tile, int at) { return load(static_cast<const float *>(tile) + at); }
};
struct IntegerSums {
    using Sum = I;
    static Sum nothing() { return no_lanes(); }
    static Sum load_sum(const char *p) { return load_lanes(p); }
    static void store_sum(char *p, Sum sum) { store_lanes(p, sum); }
    static F value(const void *tile, int at) {
        return to_float(load_lanes(static_cast<const int32_t *>(tile) + at));
    }
};

struct Float32Dot : FloatSums {
    static constexpr int group = 1;
    static F dot(F sum, I left, I right) { return fma(as_float(left), as_float(right), sum); }
};

// bfloat16 without an instruction for it: each lane's two values are widened to floats.
struct WidenedBfloat16Dot : FloatSums {
    static constexpr int group = 2;
    static F dot(F sum, I left, I right) {
        const I high = lanes_of(int32_t(0xffff0000));
        sum = fma(as_float(left_shift<16>(left)), as_float(left_shift<16>(right)), sum);
        return fma(as_float(both(left, high)), as_float(both(right, high)), sum);
    }
};

}  // namespace

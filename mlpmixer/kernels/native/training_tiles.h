// What training does to tiles of sums while they are in the cache, and how it lays out operands:
// written once for all types of operands.
#pragma once

#include <cstdint>

#include "elementwise.h"
#include "gradients.h"
#include "kernels.h"

namespace {

// Two vectors, from a column on, of each of the rows that share a lane.
template <class Operands> struct Group {
    static constexpr int rows = Operands::group, count = 2 * rows;
    F values[count];  // row by row

    template <int TILE_ROWS, int COLS, int BLOCK_COLS>
    void store_as(const Places &to, int row, int column) const {
        if (to.left)
            for (int g = 0; g < rows; ++g)
                put_left<Operands, TILE_ROWS>(to.left + (row + g) * LINE, column, values[2 * g],
                                              values[2 * g + 1]);
        if (to.right) store_lanes_at<COLS, BLOCK_COLS>(to.right, row, column);
    }
    template <int COLS, int BLOCK_COLS> void store_lanes_at(char *to, int row, int column) const {
        for (int v = 0; v < 2; ++v) {
            F down[rows];
            for (int g = 0; g < rows; ++g) down[g] = values[2 * g + v];
            store_lanes(to + right_place<COLS, BLOCK_COLS>(row / rows, column + v * LANES) * 4,
                        Operands::lanes(down));
        }
    }
    template <int COLS, int BLOCK_COLS>
    void load_lanes_at(const char *from, int row, int column) {
        for (int v = 0; v < 2; ++v) {
            F down[rows];
            const int64_t lane = right_place<COLS, BLOCK_COLS>(row / rows, column + v * LANES);
            Operands::values(load_lanes(from + lane * 4), down);
            for (int g = 0; g < rows; ++g) values[2 * g + v] = down[g];
        }
    }
    // Those of rows that are not there.
    void clear_behind(int there) {
        for (int i = 2; i < count; ++i)
            if (i / 2 >= there) values[i] = zero();
    }
};

// Zeros behind the last lanes of a tile in a right operand, up to a whole block where it has such.
template <class Operands, int COLS, int BLOCK_COLS> inline void clear_lanes(char *right, int rows) {
    if (COLS == BLOCK_COLS || !right) return;
    pad_lanes<COLS, BLOCK_COLS>((rows + Operands::group - 1) / Operands::group,
                                reinterpret_cast<uint32_t *>(right));
}

template <class Operands, class Form, int TILE_ROWS, int COLS, int BLOCK_COLS>
void activate(const float *tile, int rows, const float *row_bias, const float *column_bias,
              char *kept, const Places &activated) {
    constexpr int count = Group<Operands>::count;
    const Places places = activated;
    for (int j = 0; j < COLS; j += 2 * LANES) {
        F columns[2] = {zero(), zero()};
        if (column_bias)
            for (int v = 0; v < 2; ++v) columns[v] = load(column_bias + j + v * LANES);
        for (int r = 0; r < rows; r += Operands::group) {
            Group<Operands> before, after;
            for (int i = 0; i < count; ++i) {
                const int row = r + i / 2;
                before.values[i] = load(tile + row * COLS + j + i % 2 * LANES) + columns[i % 2];
                if (row_bias) before.values[i] = before.values[i] + all(row_bias[row]);
            }
            before.clear_behind(rows - r);
            halves_and_odds<Form>(before.values, after.values);
            for (int i = 0; i < count; ++i) after.values[i] = after.values[i] * before.values[i];
            before.template store_lanes_at<COLS, BLOCK_COLS>(kept, r, j);
            after.template store_as<TILE_ROWS, COLS, BLOCK_COLS>(places, r, j);
        }
    }
    clear_lanes<Operands, COLS, BLOCK_COLS>(places.right, rows);
}

template <class Operands, class Form, class Slope, int TILE_ROWS, int COLS, int BLOCK_COLS>
void activate_gradient(const float *tile, int rows, const char *kept, const Places &activated,
                       const Places &gradient, float *row_sums, float *column_sums) {
    constexpr int count = Group<Operands>::count, tile_bytes = TILE_ROWS / Operands::group * COLS * 4;
    const Places values = activated, gradients = gradient;
    for (int j = 0; j < COLS; j += 2 * LANES) {
        F sums[2] = {zero(), zero()};
        for (int r = 0; r < rows; r += Operands::group) {
            Group<Operands> before, after, own;
            before.template load_lanes_at<COLS, BLOCK_COLS>(kept, r, j);
            for (int v = 0; v < 2; ++v)  // kept long ago; tiles are kept in the order of their use
                __builtin_prefetch(kept + 2 * tile_bytes +
                                       right_place<COLS, BLOCK_COLS>(r / Operands::group,
                                                                     j + v * LANES) * 4,
                                   0, 2);
            halves_and_odds<Form>(before.values, after.values);
            halves_and_odds<Slope>(before.values, own.values);
            for (int i = 0; i < count; ++i) {
                after.values[i] = after.values[i] * before.values[i];
                own.values[i] =
                    own.values[i] * load(tile + (r + i / 2) * COLS + j + i % 2 * LANES);
            }
            own.clear_behind(rows - r);
            for (int i = 0; i < count; ++i) {
                sums[i % 2] = sums[i % 2] + own.values[i];
                if (row_sums) {
                    float *sum = row_sums + (r + i / 2) * COLS + j + i % 2 * LANES;
                    store(sum, load(sum) + own.values[i]);
                }
            }
            after.template store_as<TILE_ROWS, COLS, BLOCK_COLS>(values, r, j);
            own.template store_as<TILE_ROWS, COLS, BLOCK_COLS>(gradients, r, j);
        }
        if (column_sums)
            for (int v = 0; v < 2; ++v) {
                float *sum = column_sums + j + v * LANES;
                store(sum, load(sum) + sums[v]);
            }
    }
    clear_lanes<Operands, COLS, BLOCK_COLS>(values.right, rows);
    clear_lanes<Operands, COLS, BLOCK_COLS>(gradients.right, rows);
}

template <class Operands>
void pack_lanes(const float *from, int64_t stride, int64_t rows, int64_t columns, bool down,
                bool turned, float *to) {
    constexpr int group = Operands::group, wide = BLOCK * group;
    const int high = down ? wide : BLOCK, broad = down ? BLOCK : wide;
    alignas(LINE) float whole[BLOCK * wide], block[BLOCK * BLOCK];
    if (rows < high || columns < broad) {
        __builtin_memset(whole, 0, sizeof whole);
        for (int64_t r = 0; r < rows && r < high; ++r)
            for (int64_t c = 0; c < columns && c < broad; ++c)
                whole[r * broad + c] = from[r * stride + c];
        from = whole;
        stride = broad;
    }
    float *lanes = turned ? block : to;
    for (int i = 0; i < BLOCK; ++i)
        if (down) {
            for (int j = 0; j < BLOCK; j += LANES) {
                F values[group];
                for (int g = 0; g < group; ++g) values[g] = load(from + (i * group + g) * stride + j);
                store_lanes(lanes + i * BLOCK + j, Operands::lanes(values));
            }
        } else {
            const float *row = from + i * stride;
            if (wide < 2 * LANES) {
                store(lanes + i * BLOCK, load(row));
            } else {
                for (int j = 0; j < wide; j += 2 * LANES) {
                    char *first = reinterpret_cast<char *>(lanes + i * BLOCK) + j * 4 / group;
                    Operands::store_two(first, first + LANES * 4 / group, load(row + j),
                                        load(row + j + LANES));
                }
            }
        }
    if (turned) transpose_block(block, BLOCK, to);
}

}  // namespace

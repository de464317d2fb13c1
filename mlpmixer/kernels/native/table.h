// Puts a level's kernels for one precision into a table.
#pragma once

#include "elementwise.h"
#include "gradients.h"
#include "multiply.h"
#include "training_tiles.h"

namespace {

template <class Product, class Signed, class Operands, class Tile>
Kernels table(const char *level, Precision precision, int tile_rows, int group, int most_weight) {
    Kernels kernels = {};
    kernels.level = level;
    kernels.precision = precision;
    kernels.tile_rows = tile_rows;
    kernels.tile_cols = Product::tile_cols;
    kernels.group = group;
    kernels.block_cols = Product::block_cols;
    kernels.ahead_lines = Product::ahead_lines;
    kernels.part_bytes = Product::part_bytes;
    kernels.rows_at_once = Product::rows_at_once;
    kernels.hidden_at_once = Product::hidden_at_once;
    kernels.rows_of_a_group = Product::rows_of_a_group;
    kernels.most_weight = most_weight;
    kernels.begin = Product::begin;
    kernels.end = Product::end;
    kernels.multiply = Product::multiply;
    kernels.multiply_signed = Signed::multiply;
    kernels.finish[STORE] = Tile::template finish<STORE>;
    kernels.finish[ADD] = Tile::template finish<ADD>;
    kernels.finish[GELU_TANH] = Tile::template finish<GELU_TANH>;
    kernels.finish[GELU_ERF] = Tile::template finish<GELU_ERF>;
    if constexpr (Operands::group < 4) {
        kernels.finish[LEFT_TANH] = Tile::template finish<LEFT_TANH>;
        kernels.finish[LEFT_ERF] = Tile::template finish<LEFT_ERF>;
        kernels.finish[RIGHT_TANH] = Tile::template finish<RIGHT_TANH>;
        kernels.finish[RIGHT_ERF] = Tile::template finish<RIGHT_ERF>;
    }
    kernels.statistics = statistics;
    kernels.normalize = normalize;
    kernels.all_finite = all_finite;
    kernels.accumulate_row = accumulate_row;
    kernels.pack_row = Operands::pack_row;
    kernels.pack_columns = Operands::template pack_columns<Product::tile_cols, Product::block_cols>;
    kernels.norm_gradient = norm_gradient<Product::tile_cols>;
    kernels.accumulate_across = accumulate_across;
    kernels.copy_rows = copy_rows;
    kernels.transpose_block = transpose_block;
    kernels.write_sums = write_sums<Product::tile_cols>;
    kernels.ceiling = Product::ceiling;
    return kernels;
}

// Adds what training takes, for a type of operands.
template <class Operands, class TanhForm, class TanhSlope, class ErfForm, class ErfSlope, int ROWS,
          int COLS, int BLOCK_COLS = COLS>
Kernels with_training(Kernels kernels) {
    static_assert(ROWS % Operands::group == 0 && COLS % BLOCK == 0);
    // Where a right panel has whole blocks, a tile's rows are such.
    static_assert(COLS == BLOCK_COLS ||
                  (BLOCK_COLS == BLOCK && ROWS % (Operands::group * BLOCK) == 0));
    kernels.activate[TANH] = activate<Operands, TanhForm, ROWS, COLS, BLOCK_COLS>;
    kernels.activate[ERF] = activate<Operands, ErfForm, ROWS, COLS, BLOCK_COLS>;
    kernels.activate_gradient[TANH] =
        activate_gradient<Operands, TanhForm, TanhSlope, ROWS, COLS, BLOCK_COLS>;
    kernels.activate_gradient[ERF] =
        activate_gradient<Operands, ErfForm, ErfSlope, ROWS, COLS, BLOCK_COLS>;
    kernels.pack_lanes = pack_lanes<Operands>;
    return kernels;
}

template <class Dot, int ROWS, int VECTORS> const Kernels *float32_table(const char *level) {
    using Product = Multiply<Dot, ROWS, VECTORS>;
    using Tile = FinishTile<FloatSums, false, ExactTanhGelu, ExactGelu, Float32Operands<ROWS>,
                            Product::tile_cols, Product::block_cols>;
    static const Kernels kernels =
        with_training<Float32Lanes, ExactTanhGelu, TanhGeluSlope, ExactGelu, GeluSlope, ROWS,
                      Product::tile_cols>(
            table<Product, Product, Float32Operands<ROWS>, Tile>(level, FLOAT32, ROWS, 1, 0));
    return &kernels;
}

template <class Dot, int ROWS, int VECTORS> const Kernels *bfloat16_table(const char *level) {
    using Product = Multiply<Dot, ROWS, VECTORS>;
    using Tile = FinishTile<FloatSums, false, ShortTanhGelu, ShortGelu, Bfloat16Operands<ROWS>,
                            Product::tile_cols, Product::block_cols>;
    static const Kernels kernels =
        with_training<Bfloat16Lanes, ShortTanhGelu, ShortTanhGeluSlope, ShortGelu,
                      ShortGeluSlope, ROWS, Product::tile_cols>(
            table<Product, Product, Bfloat16Operands<ROWS>, Tile>(level, BFLOAT16, ROWS, 2, 0));
    return &kernels;
}

// most_weight: the largest magnitude of a weight that the level's sums of products bear.
template <template <bool> class Dot, int ROWS, int VECTORS>
const Kernels *int8_table(const char *level, int most_weight) {
    using Product = Multiply<Dot<false>, ROWS, VECTORS>;
    using Signed = Multiply<Dot<true>, ROWS, VECTORS>;
    using Tile = FinishTile<IntegerSums, true, ShortTanhGelu, ShortGelu, Int8Operands<ROWS>,
                            Product::tile_cols, Product::block_cols>;
    static const Kernels kernels =
        table<Product, Signed, Int8Operands<ROWS>, Tile>(level, INT8, ROWS, 4, most_weight);
    return &kernels;
}

}  // namespace

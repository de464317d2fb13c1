// Puts a level's kernels for one precision into a table.
#pragma once

#include "elementwise.h"
#include "gradients.h"
#include "multiply.h"

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
    kernels.most_weight = most_weight;
    kernels.begin = Product::begin;
    kernels.end = Product::end;
    kernels.multiply = Product::multiply;
    kernels.multiply_signed = Signed::multiply;
    kernels.finish[STORE] = Tile::template finish<STORE>;
    kernels.finish[ADD] = Tile::template finish<ADD>;
    kernels.finish[GELU_TANH] = Tile::template finish<GELU_TANH>;
    kernels.finish[GELU_ERF] = Tile::template finish<GELU_ERF>;
    kernels.statistics = statistics;
    kernels.normalize = normalize;
    kernels.accumulate_row = accumulate_row;
    kernels.pack_row = Operands::pack_row;
    kernels.pack_columns = Operands::template pack_columns<Product::tile_cols, Product::block_cols>;
    kernels.gelu_values[0] = gelu_values<ExactTanhGelu>;
    kernels.gelu_values[1] = gelu_values<ExactGelu>;
    kernels.gelu_gradient[0] = gelu_gradient<ExactTanhGelu, TanhGeluSlope>;
    kernels.gelu_gradient[1] = gelu_gradient<ExactGelu, GeluSlope>;
    kernels.accumulate_rows = accumulate_rows;
    kernels.norm_gradient = norm_gradient;
    kernels.copy_rows = copy_rows;
    kernels.pack_panel = pack_panel;
    kernels.transpose_block = transpose_block;
    kernels.write_sums = write_sums;
    kernels.ceiling = Product::ceiling;
    return kernels;
}

template <class Dot, int ROWS, int VECTORS> const Kernels *float32_table(const char *level) {
    using Product = Multiply<Dot, ROWS, VECTORS>;
    using Tile = FinishTile<FloatSums, false, ExactTanhGelu, ExactGelu, Product::tile_cols>;
    static const Kernels kernels =
        table<Product, Product, Float32Operands<ROWS>, Tile>(level, FLOAT32, ROWS, 1, 0);
    return &kernels;
}

template <class Dot, int ROWS, int VECTORS> const Kernels *bfloat16_table(const char *level) {
    using Product = Multiply<Dot, ROWS, VECTORS>;
    using Tile = FinishTile<FloatSums, false, ShortTanhGelu, ShortGelu, Product::tile_cols>;
    static const Kernels kernels =
        table<Product, Product, Bfloat16Operands<ROWS>, Tile>(level, BFLOAT16, ROWS, 2, 0);
    return &kernels;
}

// most_weight: the largest magnitude of a weight that the level's sums of products bear.
template <template <bool> class Dot, int ROWS, int VECTORS>
const Kernels *int8_table(const char *level, int most_weight) {
    using Product = Multiply<Dot<false>, ROWS, VECTORS>;
    using Signed = Multiply<Dot<true>, ROWS, VECTORS>;
    using Tile = FinishTile<IntegerSums, true, ShortTanhGelu, ShortGelu, Product::tile_cols>;
    static const Kernels kernels =
        table<Product, Signed, Int8Operands<ROWS>, Tile>(level, INT8, ROWS, 4, most_weight);
    return &kernels;
}

}  // namespace

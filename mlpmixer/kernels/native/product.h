// The loop nest of a product, over tiles: written once for all levels and precisions.
#pragma once

#include <algorithm>

#include "kernels.h"

// Packed operands as kernels.h describes them, from the first lane to be summed.
struct LeftOperand {
    const char *data;
    int64_t panel_bytes, rows;
    const float *bias, *scale, *offset;  // of rows
};
struct RightOperand {
    const char *data;
    int64_t panel_bytes, panels;
    const float *bias, *scale, *offset;  // of columns
};

// Where the results go: floats, or the place of an operand's first lane.
struct Results {
    float *floats;
    int64_t stride;  // floats between rows
    char *operand = nullptr;
    int64_t panel_bytes = 0;  // of a left operand
};

// Lanes that are summed before the next rows are taken: so much of a right panel stays near.
inline int64_t lanes_at_once(const Kernels &k, int64_t steps) {
    const int64_t most = k.part_bytes / (k.tile_cols * 4);
    const int64_t parts = (steps + most - 1) / most;
    return (((steps + parts - 1) / parts) + BLOCK - 1) / BLOCK * BLOCK;
}

// Floats that `product` needs in `tiles` for so many rows.
inline int64_t tile_floats(const Kernels &k, int64_t rows) {
    return (rows + k.tile_rows - 1) / k.tile_rows * k.tile_rows * k.tile_cols;
}

// A thread that computes products.
class Products {
  public:
    explicit Products(const Kernels &k) : kernels(k) {
        if (kernels.begin) kernels.begin();
    }
    ~Products() {
        if (kernels.end) kernels.end();
    }
    Products(const Products &) = delete;

  private:
    const Kernels &kernels;
};

// What becomes of the tile whose first sum is that of a row and a column.
inline Placement placement(const Kernels &k, const LeftOperand &left, const RightOperand &right,
                           Finish finish, const Results &results, int64_t row, int64_t column) {
    Placement place = {};
    place.rows = int(std::min<int64_t>(k.tile_rows, left.rows - row));
    place.row_bias = left.bias ? left.bias + row : nullptr;
    place.row_scale = left.scale + row;
    place.row_offset = left.offset + row;
    place.column_bias = right.bias ? right.bias + column : nullptr;
    place.column_scale = right.scale + column;
    place.column_offset = right.offset + column;
    if (finish == LEFT_TANH || finish == LEFT_ERF) {
        const int64_t lane = column / k.group;
        place.operand = results.operand + row / k.tile_rows * results.panel_bytes +
                        lane / BLOCK * k.tile_rows * LINE + lane % BLOCK * 4;
    } else if (finish == RIGHT_TANH || finish == RIGHT_ERF) {
        place.operand = results.operand + right_lane(k, row / k.group, 0);
    } else {
        place.out = results.floats + row * results.stride + column;
        place.stride = results.stride;
    }
    return place;
}

// results (rows, panels·tile_cols) = left · right over `steps` lanes, finished by `finish`.
inline void product(const Kernels &k, bool signed_left, const LeftOperand &left,
                    const RightOperand &right, int64_t steps, Finish finish,
                    const Results &results, float *tiles) {
    const Products products(k);
    const auto multiply = signed_left ? k.multiply_signed : k.multiply;
    const int64_t at_once = lanes_at_once(k, steps);
    const int64_t row_panels = (left.rows + k.tile_rows - 1) / k.tile_rows;
    for (int64_t p = 0; p < right.panels; ++p) {
        const char *columns = right.data + p * right.panel_bytes;
        for (int64_t from = 0; from < steps; from += at_once) {
            const int64_t count = std::min(at_once, steps - from);
            const bool last = from + count == steps;
            const char *part = columns + from * k.tile_cols * 4;
            // What comes next: the rest of this panel, or the next one.
            const char *next = !last                  ? part + count * k.tile_cols * 4
                               : p + 1 < right.panels ? columns + right.panel_bytes
                                                      : part;
            for (int64_t m = 0; m < row_panels; ++m) {
                const int64_t row = m * k.tile_rows;
                const int rows = int(std::min<int64_t>(k.tile_rows, left.rows - row));
                float *tile = tiles + (at_once < steps ? m : 0) * k.tile_rows * k.tile_cols;
                multiply(rows, count, left.data + m * left.panel_bytes + from * k.tile_rows * 4,
                         part, tile, from > 0, next + m * (count / BLOCK) * k.ahead_lines * LINE);
                if (last)
                    k.finish[finish](tile, placement(k, left, right, finish, results, row,
                                                     p * k.tile_cols));
            }
        }
    }
}

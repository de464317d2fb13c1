// What the loop nest asks of a level: products of small tiles, and what happens to a tile.
//
// Operands of a product lie in memory as the tiles read them. A "lane" is 32 bits wide and holds
// `group` neighbours along the dimension K that is summed over: 1 float, 2 bfloat16 or 4 int8.
//
//   left operand, (M, K)   panels of tile_rows rows; in each panel blocks of 16 lanes along K; in
//                          each block the rows one after another, 64 bytes each
//   right operand, (K, N)  panels of tile_cols columns; in each panel blocks of 16 lanes along K; in
//                          each block groups of block_cols columns; in each group the lanes one
//                          after another. With tile_cols columns in a group: just the lanes.
//
// Both are padded with zeros. A row of a left block is a cache line, and 16 rows are a tile of AMX,
// as are 16 lanes of a group of 16 columns on the right.
#pragma once

#include <cstdint>

enum Precision { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2 };
enum Gelu { TANH = 0, ERF = 1 };

// What becomes of a product: STORE writes it, ADD adds it to what is there, GELU_* apply a GELU; LEFT_*
// and RIGHT_* do so and lay the values out as a left, or right, operand of the next products.
enum Finish { STORE, ADD, GELU_TANH, GELU_ERF, LEFT_TANH, LEFT_ERF, RIGHT_TANH, RIGHT_ERF, FINISHES };

constexpr int LINE = 64;         // bytes of a cache line
constexpr int BLOCK = 16;        // lanes of a row in a block of a left operand
constexpr int MOST_TILE = 2048;  // elements of the largest tile

// Turns a tile of sums into values and puts them in place:
//   value = sum + row_bias + column_bias                                           float operands
//   value = sum·row_scale·column_scale + row_offset·column_offset + both biases    int8 operands
struct Placement {
    int rows;
    const float *row_bias, *row_scale, *row_offset;           // of the tile's rows; a null bias is 0
    const float *column_bias, *column_scale, *column_offset;  // of the tile's columns
    float *out;
    int64_t stride;  // floats between rows of `out`
    char *operand;   // LEFT_*, RIGHT_*: the place of the tile's first lane
};

// Sums in panels of tile_cols columns, `panel` floats apart, and what is to be added to them; null
// adds nothing.
struct Sums {
    const float *panels;
    int64_t panel;
    const float *row_bias, *column_bias, *x;
    int64_t stride;  // floats between rows of x
};

// Where values become operands of the next products; null: they are not wanted as such.
struct Places {
    char *left;   // the first row's line in a left operand's block
    char *right;  // the first lanes in a right operand's panel
};

struct Kernels {
    const char *level;
    Precision precision;
    int tile_rows, tile_cols, group;  // in training, tile_cols is a multiple of BLOCK
    int block_cols;   // less than tile_cols: right panels have whole blocks of lanes
    int ahead_lines;  // lines ahead that `multiply` fetches for each block of lanes
    int part_bytes;   // of a right panel, so many at most are summed before the next rows are taken
    int rows_at_once, hidden_at_once;  // of channel mixing: what is worked on stays in L2
    int rows_of_a_group;  // tokens of the images that a thread takes together
    int most_weight;  // int8: weights are from -most_weight to most_weight

    // Called by a thread before and after its products; null: nothing is to be done.
    void (*begin)();
    void (*end)();

    // Sums of `rows` rows over `steps` lanes into a tile (rows, tile_cols) of float or int32, added
    // to what is there if `accumulate`. `ahead` is memory that will be needed soon.
    // Of int8 operands one is unsigned: the left one in `multiply`, the right one in
    // `multiply_signed`; for the other precisions both are the same.
    void (*multiply)(int rows, int64_t steps, const void *left, const void *right, void *tile,
                     bool accumulate, const char *ahead);
    void (*multiply_signed)(int rows, int64_t steps, const void *left, const void *right,
                            void *tile, bool accumulate, const char *ahead);
    // LEFT_* and RIGHT_* are null for int8, whose scales need whole rows or columns.
    void (*finish[FINISHES])(const void *tile, const Placement &placement);

    // LayerNorm of one row: its mean and 1/sqrt(variance + epsilon).
    void (*statistics)(const float *row, int64_t width, float epsilon, float *mean, float *rate);
    // out = (x - mean)·rate·gain + shift for rows of `count` columns; columns are read and written
    // to the next multiple of the vectors' lanes.
    void (*normalize)(const float *x, int64_t stride, int64_t rows, int64_t count,
                      const float *mean, const float *rate, const float *gain, const float *shift,
                      float *out, int64_t out_stride);
    // Whether none of `count` values is NaN or an infinity.
    bool (*all_finite)(const float *values, int64_t count);
    // sum += row
    void (*accumulate_row)(const float *row, int64_t count, float *sum);

    // Writes a row of floats as a row of a left operand's panel: `steps` lanes. int8: unsigned, with
    // value = q·scale + offset.
    void (*pack_row)(const float *row, int64_t count, int64_t steps, void *left, float *scale,
                     float *offset);
    // Writes floats (count, tile_cols) as a panel of a right operand: `steps` lanes. int8: unsigned,
    // with a scale and an offset for each of the tile_cols columns.
    void (*pack_columns)(const float *values, int64_t count, int64_t steps, void *right,
                         float *scale, float *offset);

    // For training, in float32 and bfloat16; null where a level does not train. Hidden values are kept
    // as the lanes of a right operand's panel. A tile has all its rows in memory; those behind
    // `rows` may be written as zeros, and are as far as a right panel has whole blocks.
    //
    // kept = tile + biases (null: none), activated = gelu of that; one for each form of the GELU.
    void (*activate[2])(const float *tile, int rows, const float *row_bias,
                        const float *column_bias, char *kept, const Places &activated);
    // activated = gelu(kept), gradient = tile·gelu'(kept), which is added to row_sums, (rows,
    // tile_cols), and column_sums, (tile_cols,), where they are not null.
    void (*activate_gradient[2])(const float *tile, int rows, const char *kept,
                                 const Places &activated, const Places &gradient, float *row_sums,
                                 float *column_sums);
    // to (16, 16) = lanes of a corner of a matrix that has `rows` and `columns` from there on, with
    // zeros behind: neighbours down the columns, or along the rows, share a lane. `turned`: the
    // result is transposed.
    void (*pack_lanes)(const float *from, int64_t stride, int64_t rows, int64_t columns, bool down,
                       bool turned, float *to);
    // From the gradient of a LayerNorm's output, a row of `width` columns: that of its input, with
    // `added` if not null, and adds those of gain and shift. The output's gradient lies in panels of
    // tile_cols columns, `panel` floats apart; it and gain are 0 up to the next multiple of 16.
    void (*norm_gradient)(const float *row, float mean, float rate, const float *gain,
                          const float *panels, int64_t panel, int64_t width, const float *added,
                          float *input_gradient, float *gain_gradient, float *shift_gradient);
    // sums (rows, 16) += rows of `width` floats, a multiple of 16, lane by lane.
    void (*accumulate_across)(const float *from, int64_t stride, int64_t rows, int64_t width,
                              float *sums);

    // Copies rows of any width between memories whose rows lie apart.
    void (*copy_rows)(const float *from, int64_t from_stride, int64_t rows, int64_t width, float *to,
                      int64_t to_stride);
    // to (16, 16) = the transpose of 16 rows of 16 values, `stride` apart
    void (*transpose_block)(const float *from, int64_t stride, float *to);
    // y (rows, width) = the sums and what is added to them
    void (*write_sums)(const Sums &sums, int64_t rows, int64_t width, float *y, int64_t y_stride);

    // Runs products over registers alone and returns the operations done (a multiplication and an
    // addition are two).
    double (*ceiling)(int64_t rounds);
};

// Bytes from the beginning of a right panel to a column's lane.
inline int64_t right_lane(const Kernels &k, int64_t step, int64_t column) {
    return (step / BLOCK * BLOCK * k.tile_cols + column / k.block_cols * BLOCK * k.block_cols +
            step % BLOCK * k.block_cols + column % k.block_cols) *
           4;
}

// A level's kernels for a precision, or null where this build or this processor lacks them.
const Kernels *find_kernels(const char *level, Precision precision);
// The names of all levels of this build, from the lowest to the highest; null ends the list.
const char *const *level_names();
// Why the levels with tiles cannot run here: some words, none where they can.
const char *tiles_missing();

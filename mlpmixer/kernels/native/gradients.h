// What training does to rows between its products, in float32.
#pragma once

#include <cstdint>

#include "gelu.h"
#include "kernels.h"

namespace {

// sums (rows, BLOCK) += the rows, lane by lane.
inline void accumulate_across(const float *from, int64_t stride, int64_t rows, int64_t width,
                              float *sums) {
    for (int64_t r = 0; r < rows; ++r, from += stride, sums += BLOCK)
        for (int j = 0; j < BLOCK; j += LANES) {
            F total = load(sums + j);
            for (int64_t i = j; i < width; i += BLOCK) total = total + load(from + i);
            store(sums + j, total);
        }
}

template <int COLS>
void norm_gradient(const float *row, float mean, float rate, const float *gain, const float *panels,
                   int64_t panel, int64_t width, const float *added, float *input_gradient,
                   float *gain_gradient, float *shift_gradient) {
    const auto upstream = [&](int64_t i) { return load(panels + i / COLS * panel + i % COLS); };
    const F middle = all(mean), scale = all(rate);
    F sums = zero(), products = zero();
    for (int64_t i = 0; i < width; i += LANES) {
        const F normalized = (load(row + i) - middle) * scale, above = upstream(i);
        const F own = above * load(gain + i);
        sums = sums + own;
        products = fma(own, normalized, products);
        store(gain_gradient + i, fma(above, normalized, load(gain_gradient + i)));
        store(shift_gradient + i, load(shift_gradient + i) + above);
    }
    const F average = all(sum(sums) / float(width)), slope = all(-sum(products) / float(width));
    for (int64_t i = 0; i < width; i += LANES) {
        const F normalized = (load(row + i) - middle) * scale;
        const F own = fma(upstream(i), load(gain + i), zero() - average);
        const F gradient = fma(normalized, slope, own);
        store(input_gradient + i, fma(gradient, scale, added ? load(added + i) : zero()));
    }
}

inline void copy_rows(const float *from, int64_t from_stride, int64_t rows, int64_t width, float *to,
                      int64_t to_stride) {
    for (int64_t r = 0; r < rows; ++r, from += from_stride, to += to_stride) {
        int64_t i = 0;
        for (; i + LANES <= width; i += LANES) store(to + i, load(from + i));
        for (; i < width; ++i) to[i] = from[i];
    }
}

inline void transpose_block(const float *from, int64_t stride, float *to) {
    for (int i = 0; i < BLOCK; i += LANES)
        for (int j = 0; j < BLOCK; j += LANES) {
            F rows[LANES];
            for (int k = 0; k < LANES; ++k) rows[k] = load(from + (i + k) * stride + j);
            transpose(rows);
            for (int k = 0; k < LANES; ++k) store(to + (j + k) * BLOCK + i, rows[k]);
        }
}

template <int COLS>
void write_sums(const Sums &sums, int64_t rows, int64_t width, float *y, int64_t y_stride) {
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t begin = 0; begin < width; begin += COLS) {
            const float *from = sums.panels + begin / COLS * sums.panel + r * COLS;
            const float *bias = sums.column_bias ? sums.column_bias + begin : nullptr;
            const float *x = sums.x ? sums.x + r * sums.stride + begin : nullptr;
            const float row = sums.row_bias ? sums.row_bias[r] : 0;
            float *to = y + r * y_stride + begin;
            const int64_t count = width - begin;
            if (count >= COLS) {
#pragma GCC unroll 4
                for (int i = 0; i < COLS; i += LANES) {
                    F value = load(from + i) + all(row);
                    if (bias) value = value + load(bias + i);
                    if (x) value = value + load(x + i);
                    store(to + i, value);
                }
                continue;
            }
            for (int64_t i = 0; i < count; ++i)
                to[i] = from[i] + row + (bias ? bias[i] : 0) + (x ? x[i] : 0);
        }
}

}  // namespace

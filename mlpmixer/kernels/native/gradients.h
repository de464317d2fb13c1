// What training does to rows between its products, in float32.
#pragma once

#include <cstdint>

#include "gelu.h"

namespace {

template <class Form>
void gelu_values(const float *values, int64_t rows, int64_t width, const float *row_bias,
                 const float *column_bias, float *activated) {
    for (int64_t r = 0; r < rows; ++r) {
        const F row = row_bias ? all(row_bias[r]) : zero();
        for (int64_t i = 0; i < width; i += LANES, values += LANES, activated += LANES) {
            const F bias = column_bias ? row + load(column_bias + i) : row;
            store(activated, gelu<Form>(load(values) + bias));
        }
    }
}

template <class Form, class Slope>
void gelu_gradient(const float *values, int64_t rows, int64_t width, const float *row_bias,
                   const float *column_bias, float *activated, float *gradient) {
    for (int64_t r = 0; r < rows; ++r) {
        const F row = row_bias ? all(row_bias[r]) : zero();
        for (int64_t i = 0; i < width;
             i += LANES, values += LANES, activated += LANES, gradient += LANES) {
            const F value = load(values) + (column_bias ? row + load(column_bias + i) : row);
            store(activated, gelu<Form>(value));
            store(gradient, load(gradient) * half_and_odd<Slope>(value));
        }
    }
}

inline void accumulate_rows(const float *values, int64_t rows, int64_t width, float *sums) {
    for (int64_t i = 0; i < width; i += LANES) {
        F sum = load(sums + i);
        for (int64_t r = 0; r < rows; ++r) sum = sum + load(values + r * width + i);
        store(sums + i, sum);
    }
}

inline void norm_gradient(const float *row, float mean, float rate, const float *gain,
                          const float *upstream, int64_t width, float *input_gradient,
                          float *gain_gradient, float *shift_gradient) {
    const F middle = all(mean), scale = all(rate);
    F sums = zero(), products = zero();
    for (int64_t i = 0; i < width; i += LANES) {
        const F normalized = (load(row + i) - middle) * scale, above = load(upstream + i);
        const F own = above * load(gain + i);
        sums = sums + own;
        products = fma(own, normalized, products);
        store(gain_gradient + i, fma(above, normalized, load(gain_gradient + i)));
        store(shift_gradient + i, load(shift_gradient + i) + above);
    }
    const F average = all(sum(sums) / float(width)), slope = all(-sum(products) / float(width));
    for (int64_t i = 0; i < width; i += LANES) {
        const F normalized = (load(row + i) - middle) * scale;
        const F own = fma(load(upstream + i), load(gain + i), zero() - average);
        const F gradient = fma(normalized, slope, own);
        store(input_gradient + i, fma(gradient, scale, load(input_gradient + i)));
    }
}

}  // namespace

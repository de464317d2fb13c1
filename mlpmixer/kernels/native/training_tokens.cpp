// Token mixing in training: an image at a time, in panels of channels; nothing is transposed but the
// operands of the weights' gradients.
#include <vector>

#include "training_operands.h"

namespace {

struct Sizes {
    Sizes(const Kernels &k, const MlpShape &shape)
        : width(k.tile_cols), channels(round_up(shape.channels, width)), panels(channels / width),
          tokens(round_up(shape.tokens, width)), stride(row_stride(channels)),
          sum_rows(whole_rows(k, shape.tokens)), hidden_rows(whole_rows(k, shape.hidden)),
          hidden_of_panel(right_lanes(k, shape.hidden) * width * 4),
          hidden_of_image(hidden_of_panel * panels) {}
    int64_t width, channels, panels;  // of a tile; channels up to whole tiles, in so many panels
    int64_t tokens;                   // up to whole tiles
    int64_t stride;                   // of rows of channels
    int64_t sum_rows, hidden_rows;    // of panels of sums that have tokens or hidden units as rows
    int64_t hidden_of_panel, hidden_of_image;  // bytes of hidden values
};

struct Scratch {
    Memory memory;
    float *rows;              // (tokens, channels)
    float *sums;              // panels of (tokens, width)
    float *panel;             // (tokens, width)
    float *tiles;             // a panel of hidden values
    char *right, *activated;  // right operands of one panel: of tokens, of hidden values
};

struct BackwardScratch : Scratch {
    float *upstream, *normalized;                  // (tokens, channels)
    float *result;                                 // one row of them
    char *gradient;                                // right operand of one panel, of hidden values
    char *upstream_columns, *normalized_columns;   // right operands, transposed: (channels, tokens)
    char *activated_rows, *gradient_rows;          // left operands, (hidden, channels)
    float *weight1, *weight2;                      // gathered: panels of (hidden, width tokens)
    float *gain, *shift;
    float *bias1, *bias2;  // (hidden, width) and (tokens, 16): summed over the columns at last
};

}  // namespace

int64_t tokens_hidden_bytes(const Kernels &k, const MlpShape &shape) {
    return shape.images * Sizes(k, shape).hidden_of_image;
}

void tokens_forward(const Kernels &k, const MlpShape &shape, const MlpWeights &weights,
                    const float *x, float *y, const Kept &kept, int threads) {
    const Sizes s(k, shape);
    const int64_t tokens = shape.tokens, width = shape.channels, w = s.width;
    const Packed first(k, true, weights.weight1, shape.hidden, tokens, false);
    const Packed second(k, true, weights.weight2, tokens, shape.hidden, false);
    const PaddedVector gain(weights.gain, width, s.channels), shift(weights.shift, width, s.channels);
    const PaddedVector bias1(weights.bias1, shape.hidden, s.hidden_rows);
    const int64_t slices = std::min<int64_t>(threads, shape.images);
    std::vector<Scratch> scratches(static_cast<size_t>(slices));
    for (Scratch &own : scratches)
        own.memory = memory_for([&](Parts &parts) {
            parts.take(own.rows, tokens * s.stride);
            parts.take(own.sums, s.sum_rows * s.channels);
            parts.take(own.panel, tokens * w);
            parts.take(own.tiles, s.hidden_rows * w);
            parts.take(own.right, operand_bytes(k, false, w, tokens));
            parts.take(own.activated, s.hidden_of_panel);
        });
    const int64_t tile_bytes = lanes(k, k.tile_rows) * w * 4;
    divide(threads, slices, [&](int64_t slice) {
        const Products products(k);
        const Scratch &own = scratches[size_t(slice)];
        const PaddedRows values(k, x, shape.rows(), width, own.rows, s.stride);
        const Operand right(k, false, own.right, tokens);
        for (int64_t image = slice * shape.images / slices;
             image < (slice + 1) * shape.images / slices; ++image) {
            const int64_t begin = image * tokens;
            const float *in = values.rows(begin, tokens);
            for (int64_t t = 0; t < tokens; ++t)
                k.statistics(in + t * values.stride, width, shape.epsilon, kept.mean + begin + t,
                             kept.rate + begin + t);
            for (int64_t p = 0; p < s.panels; ++p) {
                values.fetch(begin + tokens, tokens, p, s.panels);
                k.normalize(in + p * w, values.stride, tokens, w, kept.mean + begin,
                            kept.rate + begin, gain.data() + p * w, shift.data() + p * w, own.panel, w);
                right.write({own.panel, w, tokens, w}, true);
                char *hidden = kept.hidden + image * s.hidden_of_image + p * s.hidden_of_panel;
                const auto activate = [&](int64_t, int64_t m, int rows, const float *tile) {
                    k.activate[shape.gelu](tile, rows, bias1.data() + m * k.tile_rows, nullptr,
                                           hidden + m * tile_bytes,
                                           {nullptr, own.activated + m * tile_bytes});
                };
                multiply_and_finish(k, first.operand.all(), shape.hidden, right.all(), 1,
                               lanes(k, tokens), own.tiles, activate);
                multiply_panels(k, second.operand.all(), tokens, {own.activated, 0}, 1,
                                lanes(k, shape.hidden), own.sums + p * s.sum_rows * w, false);
            }
            const Sums sums = {own.sums, s.sum_rows * w, weights.bias2, nullptr,
                               shape.residual ? in : nullptr, values.stride};
            k.write_sums(sums, tokens, width, y + begin * width, width);
        }
    });
}

void tokens_backward(const Kernels &k, const MlpShape &shape, const MlpWeights &weights,
                     const float *x, const float *y_gradient, const Kept &kept, float *x_gradient,
                     const MlpGradients &gradients, int threads) {
    const Sizes s(k, shape);
    const int64_t tokens = shape.tokens, width = shape.channels, w = s.width;
    const Packed first(k, true, weights.weight1, shape.hidden, tokens, true);
    const Packed second(k, true, weights.weight2, tokens, shape.hidden, true);
    const PaddedVector gain(weights.gain, width, s.channels), shift(weights.shift, width, s.channels);
    const int64_t slices = std::min<int64_t>(threads, shape.images);
    std::vector<BackwardScratch> scratches(static_cast<size_t>(slices));
    for (BackwardScratch &own : scratches)
        own.memory = memory_for([&](Parts &parts) {
            for (float **table : {&own.rows, &own.upstream, &own.normalized})
                parts.take(*table, s.tokens * s.stride);
            parts.take(own.result, s.stride);
            parts.take(own.tiles, s.hidden_rows * w);
            parts.take(own.right, operand_bytes(k, false, w, tokens));
            parts.take(own.gradient, s.hidden_of_panel);
            for (char **columns : {&own.upstream_columns, &own.normalized_columns})
                parts.take(*columns, operand_bytes(k, false, tokens, width));
            parts.take(own.sums, s.sum_rows * s.channels);
            for (char **rows : {&own.activated_rows, &own.gradient_rows})
                parts.take(*rows, operand_bytes(k, true, shape.hidden, s.channels));
            parts.take(own.weight1, s.hidden_rows * s.tokens);
            parts.take(own.weight2, s.hidden_rows * s.tokens);
            parts.take(own.gain, s.channels);
            parts.take(own.shift, s.channels);
            parts.take(own.bias1, s.hidden_rows * w);
            parts.take(own.bias2, tokens * BLOCK);
        });
    const int64_t tile_bytes = lanes(k, k.tile_rows) * w * 4;
    divide(threads, slices, [&](int64_t slice) {
        const Products products(k);
        const BackwardScratch &own = scratches[size_t(slice)];
        const PaddedRows values(k, x, shape.rows(), width, own.rows, s.stride);
        const PaddedRows above(k, y_gradient, shape.rows(), width, own.upstream, s.stride);
        const Operand right(k, false, own.right, tokens);
        const Operand upstream_columns(k, false, own.upstream_columns, width);
        const Operand normalized_columns(k, false, own.normalized_columns, width);
        const Operand activated_rows(k, true, own.activated_rows, s.channels);
        const Operand gradient_rows(k, true, own.gradient_rows, s.channels);
        for (int64_t image = slice * shape.images / slices;
             image < (slice + 1) * shape.images / slices; ++image) {
            const int64_t begin = image * tokens;
            const float *in = values.rows(begin, tokens), *upstream = above.rows(begin, tokens);
            k.normalize(in, values.stride, tokens, s.channels, kept.mean + begin,
                        kept.rate + begin, gain.data(), shift.data(), own.normalized, s.stride);
            k.accumulate_across(upstream, above.stride, tokens, s.channels, own.bias2);
            // Of a panel of channels at a time: the gradients of the hidden values, and of the
            // normalised input.
            for (int64_t p = 0; p < s.panels; ++p) {
                const char *hidden = kept.hidden + image * s.hidden_of_image + p * s.hidden_of_panel;
                values.fetch(begin + tokens, tokens, p, s.panels);
                above.fetch(begin + tokens, tokens, p, s.panels);
                right.write({upstream + p * w, above.stride, tokens, w}, true);
                const auto slope = [&](int64_t, int64_t m, int rows, const float *tile) {
                    k.activate_gradient[shape.gelu](
                        tile, rows, hidden + m * tile_bytes,
                        {activated_rows.line(m, p * w), nullptr},
                        {gradient_rows.line(m, p * w), own.gradient + m * tile_bytes},
                        own.bias1 + m * k.tile_rows * w, nullptr);
                };
                multiply_and_finish(k, second.operand.all(), shape.hidden, right.all(), 1,
                               lanes(k, tokens), own.tiles, slope);
                multiply_panels(k, first.operand.all(), tokens, {own.gradient, 0}, 1,
                                lanes(k, shape.hidden), own.sums + p * s.sum_rows * w, false);
            }
            // Those of the weights: sums over the channels.
            upstream_columns.write({upstream, above.stride, tokens, width}, false);
            normalized_columns.write({own.normalized, s.stride, tokens, width}, false);
            multiply_panels(k, activated_rows.all(), shape.hidden, upstream_columns.all(),
                            s.tokens / w, lanes(k, width), own.weight2, true);
            multiply_panels(k, gradient_rows.all(), shape.hidden, normalized_columns.all(),
                            s.tokens / w, lanes(k, width), own.weight1, true);
            for (int64_t t = 0; t < tokens; ++t) {
                const float *residual = shape.residual ? upstream + t * above.stride : nullptr;
                float *to = x_gradient + (begin + t) * width;
                float *whole = values.stride == width ? to : own.result;
                k.norm_gradient(in + t * values.stride, kept.mean[begin + t], kept.rate[begin + t],
                                gain.data(), own.sums + t * w, s.sum_rows * w, width, residual, whole, own.gain,
                                own.shift);
                if (whole != to) k.copy_rows(whole, 0, 1, width, to, width);
            }
        }
    });
    const auto gathered = [&](float *BackwardScratch::*part, int64_t at, int64_t count = 1) {
        float total = 0;
        for (const BackwardScratch &own : scratches)
            for (int64_t i = 0; i < count; ++i) total += (own.*part)[at + i];
        return total;
    };
    divide(threads, shape.hidden, [&](int64_t unit) {
        gradients.bias1[unit] = gathered(&BackwardScratch::bias1, unit * w, w);
        for (int64_t t = 0; t < tokens; ++t) {
            const int64_t at = (t / w * s.hidden_rows + unit) * w + t % w;
            gradients.weight1[unit * tokens + t] = gathered(&BackwardScratch::weight1, at);
            gradients.weight2[t * shape.hidden + unit] = gathered(&BackwardScratch::weight2, at);
        }
    });
    for (int64_t t = 0; t < tokens; ++t)
        gradients.bias2[t] = gathered(&BackwardScratch::bias2, t * BLOCK, BLOCK);
    for (int64_t c = 0; c < width; ++c) {
        gradients.gain[c] = gathered(&BackwardScratch::gain, c);
        gradients.shift[c] = gathered(&BackwardScratch::shift, c);
    }
}

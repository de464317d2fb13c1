// Token mixing in training: an image at a time, in panels of channels; nothing is transposed but the
// operands of the weights' gradients.
#include <vector>

#include "training_operands.h"

namespace {

struct Sizes {
    Sizes(const Kernels &k, const MlpShape &shape)
        : width(k.tile_cols), channels(round_up(shape.channels, width)), panels(channels / width),
          tokens(round_up(shape.tokens, width)), stride(row_stride(channels)),
          hidden_of_image(shape.hidden * channels) {}
    int64_t width, channels, panels;  // of a tile; channels up to whole tiles, in so many panels
    int64_t tokens;                   // up to whole tiles
    int64_t stride;                   // of rows of channels
    int64_t hidden_of_image;          // floats: panels of (hidden, width)
};

struct Scratch {
    Memory memory;
    float *rows;       // (tokens, channels)
    float *sums;       // panels of (tokens, width)
    float *panel;      // (tokens, width)
    float *activated;  // (hidden, width)
};

struct BackwardScratch {
    Memory memory;
    float *rows, *upstream, *normalized, *norm_upstream;           // (tokens, channels)
    float *result;                                                 // one row of them
    float *upstream_panel;                                         // (tokens, width)
    float *activated, *gradient;                                   // (hidden, width)
    float *upstream_columns, *normalized_columns;                  // panels of (channels, width tokens)
    float *sums;                                                   // panels of (tokens, width)
    char *activated_rows, *gradient_rows;  // left operands, (hidden, channels)
    float *weight1, *weight2;              // gathered: panels of (hidden, width tokens)
    float *gain, *shift;
    float *bias1, *bias2;  // (hidden, width) and (tokens, width): summed over the columns at last
};

}  // namespace

int64_t tokens_hidden_floats(const Kernels &k, const MlpShape &shape) {
    return shape.images * Sizes(k, shape).hidden_of_image;
}

void tokens_forward(const Kernels &k, const MlpShape &shape, const MlpWeights &weights,
                    const float *x, float *y, const Kept &kept, int threads) {
    const Sizes s(k, shape);
    const int64_t tokens = shape.tokens, width = shape.channels, w = s.width;
    const Packed first(k, true, weights.weight1, tokens, 1, shape.hidden, tokens);
    const Packed second(k, true, weights.weight2, shape.hidden, 1, tokens, shape.hidden);
    const PaddedVector gain(weights.gain, width, s.channels), shift(weights.shift, width, s.channels);
    const int64_t slices = std::min<int64_t>(threads, shape.images);
    std::vector<Scratch> scratches(static_cast<size_t>(slices));
    for (Scratch &own : scratches)
        own.memory = memory_for([&](Parts &parts) {
            parts.take(own.rows, tokens * s.stride);
            parts.take(own.sums, tokens * s.channels);
            parts.take(own.panel, tokens * w);
            parts.take(own.activated, shape.hidden * w);
        });
    divide(threads, slices, [&](int64_t slice) {
        const Scratch &own = scratches[size_t(slice)];
        for (int64_t image = slice * shape.images / slices;
             image < (slice + 1) * shape.images / slices; ++image) {
            const int64_t begin = image * tokens;
            k.copy_rows(x + begin * width, width, tokens, width, own.rows, s.stride);
            for (int64_t t = 0; t < tokens; ++t)
                k.statistics(own.rows + t * s.stride, width, shape.epsilon, kept.mean + begin + t,
                             kept.rate + begin + t);
            for (int64_t p = 0; p < s.panels; ++p) {
                k.normalize(own.rows + p * w, s.stride, tokens, w, kept.mean + begin,
                            kept.rate + begin, gain.data() + p * w, shift.data() + p * w, own.panel, w);
                float *hidden = kept.hidden + image * s.hidden_of_image + p * shape.hidden * w;
                multiply_panels(k, first.panel(0), first.panel_bytes, shape.hidden,
                                reinterpret_cast<const char *>(own.panel), 0, 1, tokens, hidden, false);
                k.gelu_values[shape.gelu](hidden, shape.hidden, w, weights.bias1, nullptr,
                                          own.activated);
                multiply_panels(k, second.panel(0), second.panel_bytes, tokens,
                                reinterpret_cast<const char *>(own.activated), 0, 1, shape.hidden,
                                own.sums + p * tokens * w, false);
            }
            const Sums sums = {own.sums, weights.bias2, nullptr, shape.residual ? own.rows : nullptr,
                             s.stride};
            k.write_sums(sums, tokens, width, w, y + begin * width, width);
        }
    });
}

void tokens_backward(const Kernels &k, const MlpShape &shape, const MlpWeights &weights,
                     const float *x, const float *y_gradient, const Kept &kept, float *x_gradient,
                     const MlpGradients &gradients, int threads) {
    const Sizes s(k, shape);
    const int64_t tokens = shape.tokens, width = shape.channels, w = s.width;
    const Packed first(k, true, weights.weight1, 1, tokens, tokens, shape.hidden);
    const Packed second(k, true, weights.weight2, 1, shape.hidden, shape.hidden, tokens);
    const PaddedVector gain(weights.gain, width, s.channels), shift(weights.shift, width, s.channels);
    const int64_t slices = std::min<int64_t>(threads, shape.images);
    std::vector<BackwardScratch> scratches(static_cast<size_t>(slices));
    for (BackwardScratch &own : scratches)
        own.memory = memory_for([&](Parts &parts) {
            for (float **table : {&own.rows, &own.upstream, &own.normalized, &own.norm_upstream})
                parts.take(*table, s.tokens * s.stride);
            parts.take(own.result, s.stride);
            parts.take(own.upstream_panel, tokens * w);
            parts.take(own.activated, shape.hidden * w);
            parts.take(own.gradient, shape.hidden * w);
            parts.take(own.upstream_columns, s.tokens * s.channels);
            parts.take(own.normalized_columns, s.tokens * s.channels);
            parts.take(own.sums, tokens * s.channels);
            parts.take(own.activated_rows, left_bytes(k, shape.hidden, s.channels));
            parts.take(own.gradient_rows, left_bytes(k, shape.hidden, s.channels));
            parts.take(own.weight1, shape.hidden * s.tokens);
            parts.take(own.weight2, shape.hidden * s.tokens);
            parts.take(own.gain, s.channels);
            parts.take(own.shift, s.channels);
            parts.take(own.bias1, shape.hidden * w);
            parts.take(own.bias2, tokens * w);
        });
    divide(threads, slices, [&](int64_t slice) {
        const BackwardScratch &own = scratches[size_t(slice)];
        const LeftLines activated_rows(k, own.activated_rows, s.channels);
        const LeftLines gradient_rows(k, own.gradient_rows, s.channels);
        const auto columns = [&](float *to) {
            return [&, to](int64_t channel, int64_t token) {
                return to + (token / w * s.channels + channel) * w + token % w;
            };
        };
        for (int64_t image = slice * shape.images / slices;
             image < (slice + 1) * shape.images / slices; ++image) {
            const int64_t begin = image * tokens;
            k.copy_rows(x + begin * width, width, tokens, width, own.rows, s.stride);
            k.copy_rows(y_gradient + begin * width, width, tokens, width, own.upstream, s.stride);
            k.normalize(own.rows, s.stride, tokens, s.channels, kept.mean + begin,
                        kept.rate + begin, gain.data(), shift.data(), own.normalized, s.stride);
            // Of a panel of channels at a time: the gradients of the hidden values, and of the
            // normalised input.
            for (int64_t p = 0; p < s.panels; ++p) {
                float *hidden = kept.hidden + image * s.hidden_of_image + p * shape.hidden * w;
                k.copy_rows(own.upstream + p * w, s.stride, tokens, w, own.upstream_panel, w);
                k.accumulate_row(own.upstream_panel, tokens * w, own.bias2);
                multiply_panels(k, second.panel(0), second.panel_bytes, shape.hidden,
                                reinterpret_cast<const char *>(own.upstream_panel), 0, 1, tokens,
                                own.gradient, false);
                k.gelu_gradient[shape.gelu](hidden, shape.hidden, w, weights.bias1, nullptr,
                                            own.activated, own.gradient);
                k.accumulate_row(own.gradient, shape.hidden * w, own.bias1);
                multiply_panels(k, first.panel(0), first.panel_bytes, tokens,
                                reinterpret_cast<const char *>(own.gradient), 0, 1, shape.hidden,
                                own.sums + p * tokens * w, false);
                activated_rows.write_panel(own.activated, shape.hidden, p, w);
                gradient_rows.write_panel(own.gradient, shape.hidden, p, w);
            }
            const Sums sums = {own.sums, nullptr, nullptr, nullptr, 0};
            k.write_sums(sums, tokens, s.channels, w, own.norm_upstream, s.stride);
            // Those of the weights: sums over the channels.
            transpose(k, own.upstream, s.stride, tokens, s.channels, columns(own.upstream_columns));
            transpose(k, own.normalized, s.stride, tokens, s.channels, columns(own.normalized_columns));
            multiply_panels(k, own.activated_rows, activated_rows.panel_bytes, shape.hidden,
                            reinterpret_cast<const char *>(own.upstream_columns), s.channels * w * 4,
                            s.tokens / w, width, own.weight2, true);
            multiply_panels(k, own.gradient_rows, gradient_rows.panel_bytes, shape.hidden,
                            reinterpret_cast<const char *>(own.normalized_columns),
                            s.channels * w * 4, s.tokens / w, width, own.weight1, true);
            for (int64_t t = 0; t < tokens; ++t) {
                const float *residual = shape.residual ? own.upstream + t * s.stride : nullptr;
                k.norm_gradient(own.rows + t * s.stride, kept.mean[begin + t], kept.rate[begin + t],
                                gain.data(), own.norm_upstream + t * s.stride, width, residual,
                                own.result, own.gain, own.shift);
                k.copy_rows(own.result, 0, 1, width, x_gradient + (begin + t) * width, width);
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
            const int64_t at = (t / w * shape.hidden + unit) * w + t % w;
            gradients.weight1[unit * tokens + t] = gathered(&BackwardScratch::weight1, at);
            gradients.weight2[t * shape.hidden + unit] = gathered(&BackwardScratch::weight2, at);
        }
    });
    for (int64_t t = 0; t < tokens; ++t)
        gradients.bias2[t] = gathered(&BackwardScratch::bias2, t * w, w);
    for (int64_t c = 0; c < width; ++c) {
        gradients.gain[c] = gathered(&BackwardScratch::gain, c);
        gradients.shift[c] = gathered(&BackwardScratch::shift, c);
    }
}

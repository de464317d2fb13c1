// Channel mixing in training: chunks of rows, each as far through both products as the caches last.
#include <vector>

#include "training_operands.h"

namespace {

constexpr int64_t ROWS_AT_ONCE = 192;
constexpr int64_t HIDDEN_AT_ONCE = 256;

struct Sizes {
    Sizes(const Kernels &k, const MlpShape &shape)
        : width(k.tile_cols), channels(round_up(shape.channels, width)),
          hidden(round_up(shape.hidden, width)), at_once(std::min(hidden, round_up(HIDDEN_AT_ONCE, width))),
          chunks((shape.rows() + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE), stride(row_stride(channels)) {}
    int64_t width, channels, hidden;  // of a tile; and up to whole tiles
    int64_t at_once, chunks;          // hidden units taken together; chunks of rows
    int64_t stride;                   // of rows of channels
};

// A slice's own.
struct Scratch {
    Memory memory;
    float *rows, *normalized;  // (ROWS_AT_ONCE, channels); here and there one row
    float *sums, *activated;   // panels of channels, of hidden values
    char *left, *left_hidden;
};

struct BackwardScratch : Scratch {
    float *upstream, *norm_upstream;                        // (ROWS_AT_ONCE, channels)
    float *result;                                          // one row of them
    float *gradient;                                        // of the hidden values
    char *upstream_columns, *normalized_columns;            // as left operands, transposed
    float *weight1, *weight2;                               // gathered: panels of (channels, width)
    float *gain, *shift, *bias1, *bias2;
};

int64_t hidden_start(const Sizes &s, int64_t chunk) { return chunk * ROWS_AT_ONCE * s.hidden; }

}  // namespace

int64_t channels_hidden_floats(const Kernels &k, const MlpShape &shape) {
    return shape.rows() * Sizes(k, shape).hidden;
}

void channels_forward(const Kernels &k, const MlpShape &shape, const MlpWeights &weights,
                      const float *x, float *y, const Kept &kept, int threads) {
    const Sizes s(k, shape);
    const int64_t width = shape.channels, w = s.width;
    const Packed first(k, false, weights.weight1, width, 1, shape.hidden, width);
    const Packed second(k, false, weights.weight2, shape.hidden, 1, width, shape.hidden);
    const PaddedVector gain(weights.gain, width, s.channels), shift(weights.shift, width, s.channels);
    const PaddedVector bias1(weights.bias1, shape.hidden, s.hidden);
    const int64_t slices = std::min<int64_t>(threads, s.chunks);
    std::vector<Scratch> scratches(static_cast<size_t>(slices));
    for (Scratch &own : scratches)
        own.memory = memory_for([&](Parts &parts) {
            parts.take(own.rows, ROWS_AT_ONCE * s.stride);
            parts.take(own.normalized, s.stride);
            parts.take(own.sums, ROWS_AT_ONCE * s.channels);
            parts.take(own.activated, ROWS_AT_ONCE * s.at_once);
            parts.take(own.left, left_bytes(k, ROWS_AT_ONCE, s.channels));
            parts.take(own.left_hidden, left_bytes(k, ROWS_AT_ONCE, s.at_once));
        });
    const auto work = [&](int64_t slice) {
        const Scratch &own = scratches[size_t(slice)];
        float *in = own.rows;
        for (int64_t chunk = slice * s.chunks / slices; chunk < (slice + 1) * s.chunks / slices;
             ++chunk) {
            const int64_t begin = chunk * ROWS_AT_ONCE;
            const int64_t rows = std::min(ROWS_AT_ONCE, shape.rows() - begin);
            float *hidden = kept.hidden + hidden_start(s, chunk);
            k.copy_rows(x + begin * width, width, rows, width, in, s.stride);
            const LeftLines left(k, own.left, width), left_hidden(k, own.left_hidden, s.at_once);
            for (int64_t r = 0; r < rows; ++r) {
                float *mean = kept.mean + begin + r, *rate = kept.rate + begin + r;
                k.statistics(in + r * s.stride, width, shape.epsilon, mean, rate);
                k.normalize(in + r * s.stride, s.stride, 1, s.channels, mean, rate, gain.data(),
                            shift.data(), own.normalized, s.stride);
                left.write_row(r, own.normalized, width);
            }
            for (int64_t from = 0; from < s.hidden; from += s.at_once) {
                const int64_t count = std::min(s.at_once, s.hidden - from);
                float *values = hidden + from * rows;
                multiply_panels(k, own.left, left.panel_bytes, rows, first.panel(from / w),
                                first.panel_bytes, count / w, width, values, false);
                for (int64_t p = 0; p < count; p += w)
                    k.gelu_values[shape.gelu](values + p * rows, rows, w, nullptr,
                                              bias1.data() + from + p, own.activated + p * rows);
                left_hidden.write_panels(own.activated, rows, count / w, w);
                multiply_panels(k, own.left_hidden, left_hidden.panel_bytes, rows,
                                second.panel(0) + from * w * 4, second.panel_bytes, second.panels,
                                std::min(count, shape.hidden - from), own.sums, from > 0);
            }
            const Sums sums = {own.sums, nullptr, weights.bias2, shape.residual ? in : nullptr, s.stride};
            k.write_sums(sums, rows, width, w, y + begin * width, width);
        }
    };
    divide(threads, slices, work);
}

void channels_backward(const Kernels &k, const MlpShape &shape, const MlpWeights &weights,
                       const float *x, const float *y_gradient, const Kept &kept,
                       float *x_gradient, const MlpGradients &gradients, int threads) {
    const Sizes s(k, shape);
    const int64_t width = shape.channels, w = s.width;
    const Packed first(k, false, weights.weight1, 1, width, width, shape.hidden);
    const Packed second(k, false, weights.weight2, 1, shape.hidden, shape.hidden, width);
    const PaddedVector gain(weights.gain, width, s.channels), shift(weights.shift, width, s.channels);
    const PaddedVector bias1(weights.bias1, shape.hidden, s.hidden);
    const int64_t slices = std::min<int64_t>(threads, s.chunks);
    std::vector<BackwardScratch> scratches(static_cast<size_t>(slices));
    for (BackwardScratch &own : scratches)
        own.memory = memory_for([&](Parts &parts) {
            const int64_t table = round_up(ROWS_AT_ONCE, BLOCK) * s.stride;
            for (float **rows : {&own.rows, &own.upstream, &own.normalized, &own.norm_upstream})
                parts.take(*rows, table);
            parts.take(own.result, s.stride);
            parts.take(own.sums, ROWS_AT_ONCE * s.channels);
            parts.take(own.activated, ROWS_AT_ONCE * s.at_once);
            parts.take(own.gradient, ROWS_AT_ONCE * s.at_once);
            parts.take(own.left, left_bytes(k, ROWS_AT_ONCE, width));
            parts.take(own.left_hidden, left_bytes(k, ROWS_AT_ONCE, s.at_once));
            parts.take(own.upstream_columns, left_bytes(k, s.channels, ROWS_AT_ONCE));
            parts.take(own.normalized_columns, left_bytes(k, s.channels, ROWS_AT_ONCE));
            parts.take(own.weight1, width * s.hidden);
            parts.take(own.weight2, width * s.hidden);
            parts.take(own.bias1, s.hidden);
            for (float **vector : {&own.gain, &own.shift, &own.bias2}) parts.take(*vector, s.channels);
        });
    const auto work = [&](int64_t slice) {
        const BackwardScratch &own = scratches[size_t(slice)];
        for (int64_t chunk = slice * s.chunks / slices; chunk < (slice + 1) * s.chunks / slices;
             ++chunk) {
            const int64_t begin = chunk * ROWS_AT_ONCE;
            const int64_t rows = std::min(ROWS_AT_ONCE, shape.rows() - begin);
            const float *hidden = kept.hidden + hidden_start(s, chunk);
            k.copy_rows(x + begin * width, width, rows, width, own.rows, s.stride);
            k.copy_rows(y_gradient + begin * width, width, rows, width, own.upstream, s.stride);
            k.normalize(own.rows, s.stride, rows, s.channels, kept.mean + begin, kept.rate + begin,
                        gain.data(), shift.data(), own.normalized, s.stride);
            const LeftLines left(k, own.left, width), left_hidden(k, own.left_hidden, s.at_once);
            const LeftLines upstream_columns(k, own.upstream_columns, rows);
            const LeftLines normalized_columns(k, own.normalized_columns, rows);
            for (int64_t r = 0; r < rows; ++r) {
                left.write_row(r, own.upstream + r * s.stride, width);
                k.accumulate_row(own.upstream + r * s.stride, s.channels, own.bias2);
            }
            transpose(k, own.upstream, s.stride, rows, s.channels, [&](int64_t column, int64_t row) {
                return upstream_columns.line(column, row / BLOCK);
            });
            transpose(k, own.normalized, s.stride, rows, s.channels, [&](int64_t column, int64_t row) {
                return normalized_columns.line(column, row / BLOCK);
            });
            for (int64_t from = 0; from < s.hidden; from += s.at_once) {
                const int64_t count = std::min(s.at_once, s.hidden - from), panels = count / w;
                multiply_panels(k, own.left, left.panel_bytes, rows, second.panel(from / w),
                                second.panel_bytes, panels, width, own.gradient, false);
                for (int64_t p = 0; p < count; p += w) {
                    float *gradient = own.gradient + p * rows;
                    k.gelu_gradient[shape.gelu](hidden + (from + p) * rows, rows, w, nullptr,
                                                bias1.data() + from + p, own.activated + p * rows,
                                                gradient);
                    k.accumulate_rows(gradient, rows, w, own.bias1 + from + p);
                }
                multiply_panels(k, own.upstream_columns, upstream_columns.panel_bytes, width,
                                reinterpret_cast<const char *>(own.activated), rows * w * 4, panels,
                                rows, own.weight2 + from * width, true);
                multiply_panels(k, own.normalized_columns, normalized_columns.panel_bytes, width,
                                reinterpret_cast<const char *>(own.gradient), rows * w * 4, panels,
                                rows, own.weight1 + from * width, true);
                left_hidden.write_panels(own.gradient, rows, panels, w);
                multiply_panels(k, own.left_hidden, left_hidden.panel_bytes, rows,
                                first.panel(0) + from * w * 4, first.panel_bytes, first.panels,
                                std::min(count, shape.hidden - from), own.sums, from > 0);
            }
            const Sums sums = {own.sums, nullptr, nullptr, nullptr, 0};
            k.write_sums(sums, rows, s.channels, w, own.norm_upstream, s.stride);
            for (int64_t r = 0; r < rows; ++r) {
                const float *residual = shape.residual ? own.upstream + r * s.stride : nullptr;
                k.norm_gradient(own.rows + r * s.stride, kept.mean[begin + r], kept.rate[begin + r],
                                gain.data(), own.norm_upstream + r * s.stride, width, residual,
                                own.result, own.gain, own.shift);
                k.copy_rows(own.result, 0, 1, width, x_gradient + (begin + r) * width, width);
            }
        }
    };
    divide(threads, slices, work);
    const auto gathered = [&](float *BackwardScratch::*part, int64_t at) {
        float total = 0;
        for (const BackwardScratch &own : scratches) total += (own.*part)[at];
        return total;
    };
    divide(threads, (shape.hidden + BLOCK - 1) / BLOCK, [&](int64_t block) {
        const int64_t begin = block * BLOCK, end = std::min(begin + BLOCK, shape.hidden);
        for (int64_t unit = begin; unit < end; ++unit)
            gradients.bias1[unit] = gathered(&BackwardScratch::bias1, unit);
        for (int64_t c = 0; c < width; ++c)
            for (int64_t unit = begin; unit < end; ++unit) {
                const int64_t at = (unit / w * width + c) * w + unit % w;
                gradients.weight1[unit * width + c] = gathered(&BackwardScratch::weight1, at);
                gradients.weight2[c * shape.hidden + unit] = gathered(&BackwardScratch::weight2, at);
            }
    });
    for (int64_t c = 0; c < width; ++c) {
        gradients.gain[c] = gathered(&BackwardScratch::gain, c);
        gradients.shift[c] = gathered(&BackwardScratch::shift, c);
        gradients.bias2[c] = gathered(&BackwardScratch::bias2, c);
    }
}

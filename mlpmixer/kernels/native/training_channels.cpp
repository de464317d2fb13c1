// Channel mixing in training: chunks of rows, each as far through both products as the caches last.
#include <vector>

#include "training_operands.h"

namespace {

constexpr int64_t ROWS_AT_ONCE = 224;
constexpr int64_t HIDDEN_AT_ONCE = 256;
// Gradients of weights that are larger do not stay in L2 beside the rest. Tiles multiply so fast that
// this counts: with them they are gathered from so many chunks together, a part of the hidden units
// at a time.
constexpr int64_t LARGE_GRADIENTS = 1024 * 1024;
constexpr int64_t CHUNKS_TOGETHER = 8;

struct Sizes {
    Sizes(const Kernels &k, const MlpShape &shape)
        : width(k.tile_cols), channels(round_up(shape.channels, width)),
          hidden(round_up(shape.hidden, width)), at_once(std::min(hidden, round_up(HIDDEN_AT_ONCE, width))),
          rows(ROWS_AT_ONCE / k.tile_rows * k.tile_rows), chunks((shape.rows() + rows - 1) / rows),
          stride(row_stride(channels)), gathered(whole_rows(k, shape.channels)),
          together(whole_blocks(k) && 2 * gathered * hidden * int64_t(sizeof(float)) > LARGE_GRADIENTS
                       ? std::min(CHUNKS_TOGETHER, chunks) : 1) {}
    int64_t width, channels, hidden;  // of a tile; and up to whole tiles
    int64_t at_once, rows, chunks;    // hidden units and rows taken together; these so many times
    int64_t stride;                   // of rows of channels
    int64_t gathered;                 // rows of a panel of the weights' gradients
    int64_t together;                 // chunks that are gathered together
};

// A slice's own.
struct Scratch {
    Memory memory;
    float *rows, *normalized;  // (rows, channels)
    float *sums, *tiles;       // panels of channels; a panel of hidden values
    char *left, *left_hidden;
};

struct BackwardScratch : Scratch {
    Memory unset;
    float *upstream;                              // (rows, channels)
    float *result;                                // one row of them
    char *upstream_columns, *normalized_columns;  // as left operands, transposed
    char *activated, *gradient;                   // of hidden values, as right operands
    float *weight1, *weight2;                     // gathered: panels of (channels, width)
    float *gain, *shift, *bias1, *bias2;
};

// Hidden values of a chunk lie in panels; of each so many bytes before a row, which begins a lane.
int64_t hidden_bytes(const Kernels &k, const Sizes &s, int64_t rows) {
    return right_lanes(k, rows) * s.width * 4;
}
int64_t hidden_start(const Kernels &k, const Sizes &s, int64_t chunk) {
    return chunk * hidden_bytes(k, s, s.rows) * (s.hidden / s.width);
}

}  // namespace

int64_t channels_hidden_bytes(const Kernels &k, const MlpShape &shape) {
    const Sizes s(k, shape);
    return s.chunks * hidden_bytes(k, s, s.rows) * (s.hidden / s.width);
}

void channels_forward(const Kernels &k, const MlpShape &shape, const MlpWeights &weights,
                      const float *x, float *y, const Kept &kept, int threads) {
    const Sizes s(k, shape);
    const int64_t width = shape.channels, w = s.width;
    const Packed first(k, false, weights.weight1, shape.hidden, width, false);
    const Packed second(k, false, weights.weight2, width, shape.hidden, false);
    const PaddedVector gain(weights.gain, width, s.channels), shift(weights.shift, width, s.channels);
    const PaddedVector bias1(weights.bias1, shape.hidden, s.hidden);
    const int64_t slices = std::min<int64_t>(threads, s.chunks);
    std::vector<Scratch> scratches(static_cast<size_t>(slices));
    for (Scratch &own : scratches)
        own.memory = memory_for([&](Parts &parts) {
            parts.take(own.rows, s.rows * s.stride);
            parts.take(own.normalized, s.rows * s.stride);
            parts.take(own.sums, s.rows * s.channels);
            parts.take(own.tiles, s.rows * w);
            parts.take(own.left, operand_bytes(k, true, s.rows, width));
            parts.take(own.left_hidden, operand_bytes(k, true, s.rows, s.at_once));
        });
    const int64_t tile_bytes = hidden_bytes(k, s, k.tile_rows);
    const auto work = [&](int64_t slice) {
        const Products products(k);
        const Scratch &own = scratches[size_t(slice)];
        const PaddedRows tokens(k, x, shape.rows(), width, own.rows, s.stride);
        const Operand left(k, true, own.left, width), hidden(k, true, own.left_hidden, s.at_once);
        for (int64_t chunk = slice * s.chunks / slices; chunk < (slice + 1) * s.chunks / slices;
             ++chunk) {
            const int64_t begin = chunk * s.rows, rows = std::min(s.rows, shape.rows() - begin);
            char *values = kept.hidden + hidden_start(k, s, chunk);
            const float *in = tokens.rows(begin, rows);
            for (int64_t r = 0; r < rows; ++r)
                k.statistics(in + r * tokens.stride, width, shape.epsilon, kept.mean + begin + r,
                             kept.rate + begin + r);
            k.normalize(in, tokens.stride, rows, s.channels, kept.mean + begin, kept.rate + begin,
                        gain.data(), shift.data(), own.normalized, s.stride);
            left.write({own.normalized, s.stride, rows, width}, false);
            const int64_t panel_bytes = hidden_bytes(k, s, rows);
            for (int64_t from = 0; from < s.hidden; from += s.at_once) {
                const int64_t count = std::min(s.at_once, s.hidden - from);
                const int64_t panel = from / w;
                const auto activate = [&](int64_t p, int64_t m, int many, const float *tile) {
                    k.activate[shape.gelu](tile, many, nullptr, bias1.data() + from + p * w,
                                           values + (panel + p) * panel_bytes + m * tile_bytes,
                                           {hidden.line(m, p * w), nullptr});
                };
                multiply_and_finish(k, left.all(), rows, first.operand.from(panel, 0), count / w,
                               lanes(k, width), own.tiles, activate);
                multiply_panels(k, hidden.all(), rows, second.operand.from(0, from), s.channels / w,
                                lanes(k, std::min(count, shape.hidden - from)), own.sums, from > 0);
            }
            const Sums sums = {own.sums, whole_rows(k, rows) * w, nullptr, weights.bias2,
                               shape.residual ? in : nullptr, tokens.stride};
            k.write_sums(sums, rows, width, y + begin * width, width);
        }
    };
    divide(threads, slices, work);
}

void channels_backward(const Kernels &k, const MlpShape &shape, const MlpWeights &weights,
                       const float *x, const float *y_gradient, const Kept &kept,
                       float *x_gradient, const MlpGradients &gradients, int threads) {
    const Sizes s(k, shape);
    const int64_t width = shape.channels, w = s.width;
    const Packed first(k, false, weights.weight1, shape.hidden, width, true);
    const Packed second(k, false, weights.weight2, width, shape.hidden, true);
    const PaddedVector gain(weights.gain, width, s.channels), shift(weights.shift, width, s.channels);
    // One slice at least: of no images the gradients are 0.
    const int64_t slices = std::max<int64_t>(1, std::min<int64_t>(threads, s.chunks));
    const int64_t columns_bytes = operand_bytes(k, true, width, s.rows);
    const int64_t values_bytes = operand_bytes(k, false, s.together > 1 ? s.hidden : s.at_once, s.rows);
    std::vector<BackwardScratch> scratches(static_cast<size_t>(slices));
    for (BackwardScratch &own : scratches)
        own.memory = memory_for([&](Parts &parts) {
            for (float **rows : {&own.rows, &own.upstream, &own.normalized})
                parts.take(*rows, s.rows * s.stride);
            parts.take(own.result, s.stride);
            parts.take(own.sums, s.rows * s.channels);
            parts.take(own.tiles, s.rows * w);
            parts.take(own.left, operand_bytes(k, true, s.rows, width));
            parts.take(own.left_hidden, operand_bytes(k, true, s.rows, s.at_once));
            parts.take(own.bias1, s.hidden);
            for (float **vector : {&own.gain, &own.shift, &own.bias2}) parts.take(*vector, s.channels);
        });
    for (BackwardScratch &own : scratches)
        own.unset = memory_for(
            [&](Parts &parts) {
                for (float **weight : {&own.weight1, &own.weight2})
                    parts.take(*weight, s.gathered * s.hidden + BLOCK * w);  // read in whole blocks
                for (char **columns : {&own.upstream_columns, &own.normalized_columns})
                    parts.take(*columns, s.together * columns_bytes);
                for (char **hidden : {&own.activated, &own.gradient})
                    parts.take(*hidden, s.together * values_bytes);
            },
            s.chunks == 0);  // else written before it is read, where it matters
    const int64_t tile_bytes = hidden_bytes(k, s, k.tile_rows);
    const auto work = [&](int64_t slice) {
        const Products products(k);
        const BackwardScratch &own = scratches[size_t(slice)];
        const PaddedRows tokens(k, x, shape.rows(), width, own.rows, s.stride);
        const PaddedRows above(k, y_gradient, shape.rows(), width, own.upstream, s.stride);
        const Operand left(k, true, own.left, width), left_hidden(k, true, own.left_hidden, s.at_once);
        // Of a chunk, the `at`-th of those that are gathered together, and hidden units from some on.
        const int64_t first_chunk = slice * s.chunks / slices, end = (slice + 1) * s.chunks / slices;
        const auto rows_of = [&](int64_t chunk) {
            return std::min(s.rows, shape.rows() - chunk * s.rows);
        };
        const auto gather = [&](char *columns, char *values, float *weight, int64_t chunk,
                                int64_t from) {
            const int64_t at = (chunk - first_chunk) % s.together, rows = rows_of(chunk);
            const Operand left(k, true, columns + at * columns_bytes, rows);
            const Operand right(k, false, values + at * values_bytes, rows);
            multiply_panels(k, left.all(), width, right.from(s.together > 1 ? from / w : 0, 0),
                            std::min(s.at_once, s.hidden - from) / w, lanes(k, rows),
                            weight + from * s.gathered, chunk > first_chunk);
        };
        for (int64_t chunk = first_chunk; chunk < end; ++chunk) {
            const int64_t begin = chunk * s.rows, rows = rows_of(chunk);
            const int64_t at = (chunk - first_chunk) % s.together;
            const char *hidden = kept.hidden + hidden_start(k, s, chunk);
            const float *in = tokens.rows(begin, rows), *upstream = above.rows(begin, rows);
            k.normalize(in, tokens.stride, rows, s.channels, kept.mean + begin, kept.rate + begin,
                        gain.data(), shift.data(), own.normalized, s.stride);
            for (int64_t r = 0; r < rows; ++r)
                k.accumulate_row(upstream + r * above.stride, s.channels, own.bias2);
            const Operand upstream_columns(k, true, own.upstream_columns + at * columns_bytes, rows);
            const Operand normalized_columns(k, true, own.normalized_columns + at * columns_bytes, rows);
            const Operand activated(k, false, own.activated + at * values_bytes, rows);
            const Operand gradient(k, false, own.gradient + at * values_bytes, rows);
            const int64_t panel_bytes = hidden_bytes(k, s, rows);
            left.write({upstream, above.stride, rows, width}, false);
            upstream_columns.write({upstream, above.stride, rows, width}, true);
            normalized_columns.write({own.normalized, s.stride, rows, width}, true);
            for (int64_t from = 0; from < s.hidden; from += s.at_once) {
                const int64_t count = std::min(s.at_once, s.hidden - from), panels = count / w;
                const int64_t panel = from / w, kept_panel = s.together > 1 ? panel : 0;
                const auto slope = [&](int64_t p, int64_t m, int many, const float *tile) {
                    k.activate_gradient[shape.gelu](
                        tile, many, hidden + (panel + p) * panel_bytes + m * tile_bytes,
                        {nullptr, activated.panel(kept_panel + p) + m * tile_bytes},
                        {left_hidden.line(m, p * w), gradient.panel(kept_panel + p) + m * tile_bytes}, nullptr,
                        own.bias1 + from + p * w);
                };
                multiply_and_finish(k, left.all(), rows, second.operand.from(panel, 0), panels,
                               lanes(k, width), own.tiles, slope);
                if (s.together == 1) {
                    gather(own.upstream_columns, own.activated, own.weight2, chunk, from);
                    gather(own.normalized_columns, own.gradient, own.weight1, chunk, from);
                }
                multiply_panels(k, left_hidden.all(), rows, first.operand.from(0, from),
                                s.channels / w, lanes(k, std::min(count, shape.hidden - from)),
                                own.sums, from > 0);
            }
            for (int64_t r = 0; r < rows; ++r) {
                const float *residual = shape.residual ? upstream + r * above.stride : nullptr;
                float *to = x_gradient + (begin + r) * width;
                float *whole = tokens.stride == width ? to : own.result;
                k.norm_gradient(in + r * tokens.stride, kept.mean[begin + r], kept.rate[begin + r],
                                gain.data(), own.sums + r * w, whole_rows(k, rows) * w, width, residual, whole, own.gain,
                                own.shift);
                if (whole != to) k.copy_rows(whole, 0, 1, width, to, width);
            }
            if (s.together == 1 || (at + 1 < s.together && chunk + 1 < end)) continue;
            for (int64_t from = 0; from < s.hidden; from += s.at_once) {
                for (int64_t i = chunk - at; i <= chunk; ++i)
                    gather(own.upstream_columns, own.activated, own.weight2, i, from);
                for (int64_t i = chunk - at; i <= chunk; ++i)
                    gather(own.normalized_columns, own.gradient, own.weight1, i, from);
            }
        }
    };
    divide(threads, slices, work);
    const auto gathered = [&](float *BackwardScratch::*part, int64_t at) {
        float total = 0;
        for (const BackwardScratch &own : scratches) total += (own.*part)[at];
        return total;
    };
    // Those of the other slices are added to the first one's, then written a block at a time.
    divide(threads, s.hidden / w, [&](int64_t panel) {
        const int64_t begin = panel * w, units = std::min(w, shape.hidden - begin);
        for (float *BackwardScratch::*part : {&BackwardScratch::weight1, &BackwardScratch::weight2})
            for (size_t other = 1; other < scratches.size(); ++other)
                k.accumulate_row(scratches[other].*part + begin * s.gathered, width * w,
                                 scratches[0].*part + begin * s.gathered);
        for (int64_t unit = begin; unit < begin + units; ++unit)
            gradients.bias1[unit] = gathered(&BackwardScratch::bias1, unit);
        k.copy_rows(scratches[0].weight2 + begin * s.gathered, w, width, units, gradients.weight2 + begin,
                    shape.hidden);
        for (int64_t c = 0; c < width; c += BLOCK)
            for (int64_t u = 0; u < units; u += BLOCK) {
                alignas(LINE) float block[BLOCK][BLOCK];
                const float *from = scratches[0].weight1 + (begin * s.gathered + c * w) + u;
                k.transpose_block(from, w, block[0]);
                k.copy_rows(block[0], BLOCK, std::min<int64_t>(BLOCK, units - u),
                            std::min<int64_t>(BLOCK, width - c),
                            gradients.weight1 + (begin + u) * width + c, width);
            }
    });
    for (int64_t c = 0; c < width; ++c) {
        gradients.gain[c] = gathered(&BackwardScratch::gain, c);
        gradients.shift[c] = gathered(&BackwardScratch::shift, c);
        gradients.bias2[c] = gathered(&BackwardScratch::bias2, c);
    }
}

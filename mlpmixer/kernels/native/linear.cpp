#include "linear.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

uint16_t to_bfloat16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    // A NaN stays one: rounding its bits up could carry into the sign.
    if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t(bits >> 16 | 0x40);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace

Linear::Linear(const Kernels &k, Side side, const float *weight, const float *bias,
               int64_t outputs, int64_t inputs, int64_t chunk)
    : outputs(outputs), inputs(inputs) {
    const int64_t chunk_size = chunk ? chunk : inputs;
    const int64_t chunks = (inputs + chunk_size - 1) / chunk_size;
    const int group = k.group, across = side == LEFT ? k.tile_rows : k.tile_cols;
    steps = (inputs + group - 1) / group;
    panels = (outputs + across - 1) / across;
    padded = panels * across;
    const bool blocks = side == LEFT || k.block_cols < k.tile_cols;
    const int64_t whole = blocks ? round_up(steps, BLOCK) : steps;
    panel_bytes = whole * across * 4;
    data = Memory(size_t(panels * panel_bytes));
    memory = Memory(size_t((2 + chunks) * padded + 64) * sizeof(float));
    numbers = memory.floats();
    if (bias) std::memcpy(numbers, bias, size_t(outputs) * sizeof(float));

    // So small that no sum of products with activations of 0 to 255 leaves 32 bits.
    const int most_weight =
        int(std::min<int64_t>(k.most_weight, INT32_MAX / (255 * std::min(chunk_size, inputs))));
    finite = !bias || k.all_finite(bias, outputs);
    for (int64_t o = 0; o < outputs; ++o) {
        char *to = data.bytes() + o / across * panel_bytes;
        if (side == LEFT) to += o % across * LINE;
        const float *row = weight + o * inputs;
        float scale = 1, inverse = 1;
        if (k.precision == INT8) {
            float most = 0;
            for (int64_t i = 0; i < inputs; ++i) most = std::fmax(most, std::fabs(row[i]));
            scale = most / float(most_weight);
            inverse = most > 0 ? float(most_weight) / most : 0;
            if (!k.all_finite(row, inputs)) inverse = 0, finite = false;
            numbers[padded + o] = scale;
        }
        for (int64_t s = 0; s < steps; ++s) {
            // On the left each block of 16 lanes is followed by those of the panel's other rows.
            char *lane = to + (side == LEFT ? s / BLOCK * across * LINE + s % BLOCK * 4
                                            : right_lane(k, s, o % across));
            const int64_t first = s * group;
            const int count = int(inputs - first < group ? inputs - first : group);
            if (k.precision == FLOAT32) {
                std::memcpy(lane, row + first, 4);
            } else if (k.precision == BFLOAT16) {
                for (int i = 0; i < count; ++i) {
                    const uint16_t half = to_bfloat16(row[first + i]);
                    std::memcpy(lane + 2 * i, &half, 2);
                }
            } else {
                for (int i = 0; i < count; ++i) {
                    const long q = inverse > 0 ? std::lrintf(row[first + i] * inverse) : 0;
                    lane[i] = char(q);
                    numbers[(2 + (first + i) / chunk_size) * padded + o] += float(q) * scale;
                }
            }
        }
    }
}

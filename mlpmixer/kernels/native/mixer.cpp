#include "mixer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "product.h"

namespace {

int64_t left_panel_bytes(const Kernels &k, int64_t steps) {
    return round_up(steps, BLOCK) * k.tile_rows * 4;
}

// Where row r of a left operand begins.
char *left_row(const Kernels &k, char *left, int64_t steps, int64_t r) {
    return left + r / k.tile_rows * left_panel_bytes(k, steps) + r % k.tile_rows * LINE;
}

// int8 operands have scales that are known when a whole row or column is: their hidden values are
// packed after the product, others as its tiles are finished.
bool packs_late(const Kernels &k) { return k.precision == INT8; }

// No step of int8 stands for NaN or an infinity, and one among numbers is lost when they are packed;
// where all are NaN, or a scale is, so is what is computed from them. Looked for is therefore where
// one can first stand among numbers: in weights, pixels, and the tokens of a channel.
bool loses(const Kernels &k, const float *values, int64_t count) {
    return k.precision == INT8 && !k.all_finite(values, count);
}

}  // namespace

// The residual stream of some images: tokens one after another, `stride` floats apart.
struct Mixer::Activations {
    Activations(const Mixer &mixer, int64_t images) {
        const int64_t rows = images * mixer.shape.tokens();
        for (Parts parts; ; parts = Parts(memory.bytes())) {
            const bool counting = !memory.bytes();
            parts.take(values, rows * mixer.stride);
            parts.take(mean, rows);
            parts.take(rate, rows);
            if (!counting) break;
            memory = Memory(size_t(parts.used));
        }
    }
    Memory memory;
    float *values = nullptr, *mean = nullptr, *rate = nullptr;
};

// A thread's own memory, used anew in each call.
struct Mixer::Scratch {
    explicit Scratch(const Mixer &mixer) {
        const Shape &s = mixer.shape;
        const Kernels &k = mixer.kernels, &h = mixer.head_kernels;
        const int64_t columns = k.tile_cols, most_rows = std::max(s.tokens(), s.token_hidden);
        const int64_t rows = round_up(k.rows_at_once, k.tile_rows) + k.tile_rows;
        const int64_t values = std::max({s.patch_values(), s.channels, mixer.chunk});
        for (Parts parts; ; parts = Parts(memory.bytes())) {
            const bool counting = !memory.bytes();
            parts.take(tiles, std::max({tile_floats(k, most_rows), tile_floats(k, rows),
                                        tile_floats(h, rows)}));
            parts.take(columns_in, k.precision == FLOAT32 ? 0 : s.tokens() * columns);
            parts.take(columns_hidden, packs_late(k) ? s.token_hidden * columns : 0);
            parts.take(right, round_up(s.tokens(), 4 * BLOCK) * columns * 4 / k.group);
            parts.take(right_hidden, round_up(s.token_hidden, 4 * BLOCK) * columns * 4 / k.group);
            parts.take(row, round_up(std::max(values, mixer.padded_channels), 64) + 64);
            parts.take(left, rows * round_up(values * 4, 4 * LINE));
            parts.take(left_hidden, rows * round_up(mixer.chunk * 4, 4 * LINE));
            parts.take(hidden, packs_late(k) ? rows * round_up(mixer.chunk, 64) : 0);
            parts.take(total, mixer.padded_channels);
            parts.take(logits, s.classes ? rows * round_up(mixer.head.padded, 64) : 0);
            parts.take(scale, std::max<int64_t>(rows, columns));
            parts.take(offset, std::max<int64_t>(rows, columns));
            parts.take(hidden_scale, rows);
            parts.take(hidden_offset, rows);
            if (!counting) break;
            memory = Memory(size_t(parts.used));
        }
    }
    Memory memory;
    float *tiles = nullptr, *columns_in = nullptr, *columns_hidden = nullptr, *row = nullptr, *total = nullptr;
    float *hidden = nullptr, *logits = nullptr, *scale = nullptr, *offset = nullptr;
    float *hidden_scale = nullptr, *hidden_offset = nullptr;
    char *right = nullptr, *right_hidden = nullptr, *left = nullptr, *left_hidden = nullptr;
    std::unique_ptr<Activations> alone;  // of the images that this thread does alone
};

// One call of forward.
struct Mixer::Call {
    const Mixer &mixer;
    const Images &images;
    const Outputs &outputs;
    int64_t batch, group, alone;  // images before `alone` are done in groups, by one thread each
    Activations *shared;          // of the other images
    Stage *stages;                // of groups; of embedding, blocks and pooling; of the head
    std::unique_ptr<Scratch> *scratches;  // of each thread
};

Mixer::Norm Mixer::norm(const float *gain, const float *shift) const {
    Norm norm;
    norm.memory = Memory(size_t(2 * padded_channels) * sizeof(float));
    float *to = norm.memory.floats();
    std::memcpy(to, gain, size_t(shape.channels) * sizeof(float));
    std::memcpy(to + padded_channels, shift, size_t(shape.channels) * sizeof(float));
    norm.gain = to;
    norm.shift = to + padded_channels;
    return norm;
}

Mixer::Mixer(const Kernels &k, const Kernels &h, const Shape &shape, const Weights &weights)
    : shape(shape), kernels(k), head_kernels(h) {
    padded_channels = round_up(shape.channels, std::max(64, k.tile_cols));
    // An odd number of cache lines, so that the rows of a column do not share a few sets.
    stride = (padded_channels / 16 | 1) * 16;
    chunk = std::min<int64_t>(k.hidden_at_once, round_up(shape.channel_hidden, 64));
    const int64_t s = shape.tokens(), c = shape.channels;
    stem = Linear(k, RIGHT, weights.stem_weight, weights.stem_bias, c, shape.patch_values());
    bool finite = stem.finite;
    for (int64_t i = 0; i < shape.depth; ++i) {
        const BlockWeights &w = weights.blocks[i];
        Block block;
        block.norm1 = norm(w.gain1, w.shift1);
        block.token1 = Linear(k, LEFT, w.weight1, w.bias1, shape.token_hidden, s);
        block.token2 = Linear(k, LEFT, w.weight2, w.bias2, s, shape.token_hidden);
        block.norm2 = norm(w.gain2, w.shift2);
        block.channel1 = Linear(k, RIGHT, w.weight3, w.bias3, shape.channel_hidden, c);
        block.channel2 = Linear(k, RIGHT, w.weight4, w.bias4, c, shape.channel_hidden, chunk);
        for (const Linear *one : {&block.token1, &block.token2, &block.channel1, &block.channel2})
            finite = finite && one->finite;
        for (const float *one : {w.gain1, w.shift1, w.gain2, w.shift2})
            finite = finite && k.all_finite(one, c);
        blocks.push_back(std::move(block));
    }
    final_norm = norm(weights.gain, weights.shift);
    // One anywhere makes all answers NaN, as it does in the other precisions.
    if (packs_late(k) && !finite) std::fill_n(final_norm.memory.floats(), c, NAN);
    if (shape.classes)
        head = Linear(h, RIGHT, weights.head_weight, weights.head_bias, shape.classes, c);
}

Mixer::~Mixer() = default;

// What the hidden values of a product become: an operand of the next one.
Finish Mixer::gelu_as(Side side) const {
    const bool tanh = shape.gelu == TANH;
    if (packs_late(kernels)) return tanh ? GELU_TANH : GELU_ERF;
    if (side == LEFT) return tanh ? LEFT_TANH : LEFT_ERF;
    return tanh ? RIGHT_TANH : RIGHT_ERF;
}

// Mean and rate of rows, for the LayerNorm that comes next.
void Mixer::measure(Activations &x, int64_t from, int64_t to) const {
    for (int64_t r = from; r < to; ++r)
        kernels.statistics(x.values + r * stride, shape.channels, shape.epsilon, x.mean + r,
                           x.rate + r);
}

// The stem: tokens `from` to `to` of the group whose first image is `first`.
void Mixer::embed(const Images &images, int64_t first, Activations &x, int64_t from, int64_t to,
                  Scratch &scratch) const {
    const Kernels &k = kernels;
    const int64_t p = shape.patch, across = shape.width / p, tokens = shape.tokens();
    const int64_t panel_bytes = left_panel_bytes(k, stem.steps);
    for (int64_t begin = from; begin < to; begin += kernels.rows_at_once) {
        const int64_t rows = std::min<int64_t>(kernels.rows_at_once, to - begin);
        for (int64_t r = 0; r < rows; ++r) {
            const int64_t image = first + (begin + r) / tokens, token = (begin + r) % tokens;
            const int64_t *strides = images.strides;
            const float *corner = images.data + image * strides[0] +
                                  token / across * p * strides[2] + token % across * p * strides[3];
            float *value = scratch.row;
            for (int64_t c = 0; c < shape.colours; ++c)
                for (int64_t i = 0; i < p; ++i) {
                    const float *pixel = corner + c * strides[1] + i * strides[2];
                    for (int64_t j = 0; j < p; ++j) *value++ = pixel[j * strides[3]];
                }
            k.pack_row(scratch.row, shape.patch_values(), stem.steps,
                       left_row(k, scratch.left, stem.steps, r), scratch.scale + r,
                       scratch.offset + r);
            if (loses(k, scratch.row, shape.patch_values())) scratch.scale[r] = NAN;
        }
        product(k, false, {scratch.left, panel_bytes, rows, nullptr, scratch.scale, scratch.offset},
                {stem.panel(0), stem.panel_bytes, stem.panels, stem.bias(), stem.scale(),
                 stem.offset(0)},
                stem.steps, STORE, {x.values + begin * stride, stride}, scratch.tiles);
        measure(x, begin, begin + rows);
    }
}

// Token mixing of one panel of channels: the weights stand on the left, so nothing is transposed.
void Mixer::mix_tokens(const Block &block, Activations &x, int64_t image, int64_t panel,
                       Scratch &scratch) const {
    const Kernels &k = kernels;
    const int64_t tokens = shape.tokens(), row = image * tokens, column = panel * k.tile_cols;
    const Linear &in = block.token1, &out = block.token2;
    float *values = x.values + row * stride + column;
    // float32 lanes are the floats themselves.
    float *columns = k.precision == FLOAT32 ? reinterpret_cast<float *>(scratch.right)
                                            : scratch.columns_in;
    k.normalize(values, stride, tokens, k.tile_cols, x.mean + row, x.rate + row,
                block.norm1.gain + column, block.norm1.shift + column, columns, k.tile_cols);
    if (k.precision != FLOAT32)
        k.pack_columns(columns, in.inputs, in.steps, scratch.right, scratch.scale, scratch.offset);
    if (loses(k, x.mean + row, tokens)) std::fill_n(scratch.scale, k.tile_cols, NAN);
    product(k, true,
            {in.panel(0), in.panel_bytes, in.outputs, in.bias(), in.scale(), in.offset(0)},
            {scratch.right, 0, 1, nullptr, scratch.scale, scratch.offset}, in.steps,
            gelu_as(RIGHT),
            {scratch.columns_hidden, k.tile_cols, scratch.right_hidden, 0}, scratch.tiles);
    if (packs_late(k))
        k.pack_columns(scratch.columns_hidden, out.inputs, out.steps, scratch.right_hidden,
                       scratch.scale, scratch.offset);
    product(k, true,
            {out.panel(0), out.panel_bytes, out.outputs, out.bias(), out.scale(), out.offset(0)},
            {scratch.right_hidden, 0, 1, nullptr, scratch.scale, scratch.offset}, out.steps, ADD,
            {values, stride}, scratch.tiles);
}

// Channel mixing of tokens `from` to `to`, at most rows_at_once, and the next LayerNorm's numbers.
void Mixer::mix_channels(const Block &block, Activations &x, int64_t from, int64_t to,
                         Scratch &scratch) const {
    const Kernels &k = kernels;
    const Linear &in = block.channel1, &out = block.channel2;
    const int64_t rows = to - from;
    float *values = x.values + from * stride;
    measure(x, from, to);
    const int64_t panel_bytes = left_panel_bytes(k, in.steps);
    for (int64_t r = 0; r < rows; ++r) {
        k.normalize(values + r * stride, stride, 1, padded_channels, x.mean + from + r,
                    x.rate + from + r, block.norm2.gain, block.norm2.shift, scratch.row,
                    padded_channels);
        k.pack_row(scratch.row, shape.channels, in.steps, left_row(k, scratch.left, in.steps, r),
                   scratch.scale + r, scratch.offset + r);
    }
    for (int64_t first = 0; first < shape.channel_hidden; first += chunk) {
        const int64_t count = std::min(chunk, shape.channel_hidden - first);
        const int64_t panel = first / k.tile_cols, index = first / chunk;
        const int64_t panels = (count + k.tile_cols - 1) / k.tile_cols;
        const int64_t steps = (count + k.group - 1) / k.group;
        const int64_t hidden_bytes = left_panel_bytes(k, panels * k.tile_cols / k.group);
        product(k, false,
                {scratch.left, panel_bytes, rows, nullptr, scratch.scale, scratch.offset},
                {in.panel(panel), in.panel_bytes, panels, in.bias() + first, in.scale() + first,
                 in.offset(0) + first},
                in.steps, gelu_as(LEFT), {scratch.hidden, chunk, scratch.left_hidden, hidden_bytes},
                scratch.tiles);
        for (int64_t r = 0; packs_late(k) && r < rows; ++r)
            k.pack_row(scratch.hidden + r * chunk, count, steps,
                       scratch.left_hidden + r / k.tile_rows * hidden_bytes +
                           r % k.tile_rows * LINE,
                       scratch.hidden_scale + r, scratch.hidden_offset + r);
        product(k, false,
                {scratch.left_hidden, hidden_bytes, rows, nullptr, scratch.hidden_scale,
                 scratch.hidden_offset},
                {out.panel(0) + first / k.group * k.tile_cols * 4, out.panel_bytes, out.panels,
                 first ? nullptr : out.bias(), out.scale(), out.offset(index)},
                steps, ADD, {values, stride}, scratch.tiles);
    }
    measure(x, from, to);
}

// Final LayerNorm of an image's tokens and their average.
void Mixer::pool(const Activations &x, int64_t image, const Outputs &outputs, int64_t index,
                 Scratch &scratch) const {
    const int64_t tokens = shape.tokens(), channels = shape.channels;
    float *total = scratch.total;
    std::memset(total, 0, size_t(padded_channels) * sizeof(float));
    for (int64_t t = 0; t < tokens; ++t) {
        const int64_t r = image * tokens + t;
        kernels.normalize(x.values + r * stride, stride, 1, padded_channels, x.mean + r, x.rate + r,
                          final_norm.gain, final_norm.shift, scratch.row, padded_channels);
        kernels.accumulate_row(scratch.row, padded_channels, total);
        if (outputs.tokens)
            std::memcpy(outputs.tokens + (index * tokens + t) * channels, scratch.row,
                        size_t(channels) * sizeof(float));
    }
    for (int64_t c = 0; c < channels; ++c)
        outputs.pooled[index * channels + c] = total[c] / float(tokens);
}

// Logits of some of the head's panels, for all images.
void Mixer::classify(const Outputs &outputs, int64_t batch, int64_t from, int64_t to,
                     Scratch &scratch) const {
    const Kernels &k = head_kernels;
    const int64_t first = from * k.tile_cols, padded = (to - from) * k.tile_cols;
    const int64_t count = std::min(padded, shape.classes - first);
    for (int64_t begin = 0; begin < batch; begin += kernels.rows_at_once) {
        const int64_t rows = std::min<int64_t>(kernels.rows_at_once, batch - begin);
        for (int64_t r = 0; r < rows; ++r)
            k.pack_row(outputs.pooled + (begin + r) * shape.channels, shape.channels, head.steps,
                       left_row(k, scratch.left, head.steps, r), scratch.scale + r,
                       scratch.offset + r);
        product(k, false,
                {scratch.left, left_panel_bytes(k, head.steps), rows, nullptr, scratch.scale,
                 scratch.offset},
                {head.panel(from), head.panel_bytes, to - from, head.bias() + first,
                 head.scale() + first, head.offset(0) + first},
                head.steps, STORE, {scratch.logits, padded}, scratch.tiles);
        for (int64_t r = 0; r < rows; ++r)
            std::memcpy(outputs.logits + (begin + r) * shape.classes + first,
                        scratch.logits + r * padded, size_t(count) * sizeof(float));
    }
}

// The whole network for some images, by one thread.
void Mixer::alone(Call &call, int64_t first, int64_t count, Activations &x,
                  Scratch &scratch) const {
    const int64_t rows = count * shape.tokens();
    const int64_t panels = (shape.channels + kernels.tile_cols - 1) / kernels.tile_cols;
    const int64_t parts = (rows + kernels.rows_at_once - 1) / kernels.rows_at_once;
    const int64_t part = round_up((rows + parts - 1) / parts, kernels.tile_rows);
    embed(call.images, first, x, 0, rows, scratch);
    for (const Block &block : blocks) {
        for (int64_t image = 0; image < count; ++image)
            for (int64_t p = 0; p < panels; ++p) mix_tokens(block, x, image, p, scratch);
        for (int64_t r = 0; r < rows; r += part)
            mix_channels(block, x, r, std::min(rows, r + part), scratch);
    }
    for (int64_t i = 0; i < count; ++i) pool(x, i, call.outputs, first + i, scratch);
}

// The whole network for the images that are left, by all threads: they divide each stage's work.
void Mixer::together(Call &call, Team &team, Scratch &scratch) const {
    const int64_t count = call.batch - call.alone, rows = count * shape.tokens();
    const int64_t panels = (shape.channels + kernels.tile_cols - 1) / kernels.tile_cols;
    const int64_t parts = round_up((rows + kernels.rows_at_once - 1) / kernels.rows_at_once, team.size);
    const int64_t part = round_up((rows + parts - 1) / parts, std::min(kernels.tile_rows, 16));
    const int64_t row_parts = (rows + part - 1) / part;
    Activations &x = *call.shared;
    Stage *stage = call.stages + 1;
    const auto each = [&](int64_t pieces, const auto &work) {
        team.help(*stage, pieces, work);
        team.wait(*stage, pieces);
        ++stage;
    };
    each(row_parts, [&](int64_t i) {
        embed(call.images, call.alone, x, i * part, std::min(rows, (i + 1) * part), scratch);
    });
    for (const Block &block : blocks) {
        each(count * panels,
             [&](int64_t i) { mix_tokens(block, x, i / panels, i % panels, scratch); });
        each(row_parts, [&](int64_t i) {
            mix_channels(block, x, i * part, std::min(rows, (i + 1) * part), scratch);
        });
    }
    each(count, [&](int64_t i) { pool(x, i, call.outputs, call.alone + i, scratch); });
}

void Mixer::work(Call &call, Team &team, Scratch &scratch) const {
    const int64_t groups = (call.alone + call.group - 1) / call.group;
    team.help(call.stages[0], groups, [&](int64_t i) {
        const int64_t first = i * call.group;
        alone(call, first, std::min(call.group, call.alone - first), *scratch.alone, scratch);
    });
    if (call.alone < call.batch) together(call, team, scratch);
    team.wait(call.stages[0], groups);
    if (shape.classes && call.outputs.logits) {
        Stage &stage = call.stages[2 * shape.depth + 3];
        const int64_t each = std::max<int64_t>(1, head.panels / (4 * team.size));
        const int64_t pieces = (head.panels + each - 1) / each;
        team.help(stage, pieces, [&](int64_t i) {
            classify(call.outputs, call.batch, i * each, std::min(head.panels, (i + 1) * each),
                     scratch);
        });
        team.wait(stage, pieces);
    }
}

int64_t Mixer::images_of_a_group() const {
    return std::max<int64_t>(1, kernels.rows_of_a_group / shape.tokens());
}

void Mixer::forward(const Images &images, int64_t batch, int threads, const Outputs &outputs) {
    if (batch == 0) return;
    const int size = std::max(1, threads);
    const int64_t group = std::min(images_of_a_group(), std::max<int64_t>(1, batch / size));
    // Whole rounds of groups for all threads; what is left is done together.
    const int64_t alone = size == 1 ? batch : batch / (group * size) * group * size;
    std::unique_ptr<Activations> shared;
    if (alone < batch) shared.reset(new Activations(*this, batch - alone));
    std::vector<Stage> stages(size_t(2 * shape.depth + 4));
    // All memory is taken here: nothing fails in the threads.
    std::vector<std::unique_ptr<Scratch>> scratches;
    for (int i = 0; i < size; ++i) scratches.push_back(borrow(alone > 0));
    Call call = {*this, images, outputs, batch, group, alone, shared.get(), stages.data(),
                 scratches.data()};
    work_together(
        size,
        [](void *context, Team &team, int rank) {
            Call &call = *static_cast<Call *>(context);
            call.mixer.work(call, team, *call.scratches[rank]);
        },
        &call);
    const std::lock_guard<std::mutex> lock(gate());
    for (std::unique_ptr<Scratch> &scratch : scratches) spare.push_back(std::move(scratch));
}

std::unique_ptr<Mixer::Scratch> Mixer::borrow(bool works_alone) {
    std::unique_ptr<Scratch> scratch;
    {
        const std::lock_guard<std::mutex> lock(gate());
        if (!spare.empty()) {
            scratch = std::move(spare.back());
            spare.pop_back();
        }
    }
    if (!scratch) scratch.reset(new Scratch(*this));
    if (works_alone && !scratch->alone)
        scratch->alone.reset(new Activations(*this, images_of_a_group()));
    return scratch;
}

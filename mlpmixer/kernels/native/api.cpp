// The library's C interface; mlpmixer/kernels/library.py calls it.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <new>
#include <vector>

#include "mixer.h"
#include "pool.h"
#include "training.h"

#define API extern "C" __attribute__((visibility("default")))

namespace {

double now() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(since).count();
}

// Begins when all threads are here, so that they compete for what they share. One that the system
// does not let run is waited for a second.
struct Start {
    std::atomic<int> here{0};
    void wait(const Team &team) {
        ++here;
        const double begun = now();
        while (here.load() < team.size && now() - begun < 1) {
        }
    }
};

struct Ceiling {
    const Kernels *kernels;
    double seconds;
    Start start = {};
    std::atomic<double> rate{0};
};

// What threads read, each in memory of its own that is larger than the caches.
struct Traffic {
    int64_t bytes;
    std::vector<Memory> memories;
    Start start = {};
    std::atomic<double> rate{0};
};

void add(std::atomic<double> &total, double value) {
    for (double old = total.load(); !total.compare_exchange_weak(old, old + value);) {
    }
}

}  // namespace

// Of the sources that this library was built from.
API const char *mlpmixer_digest() { return SOURCE_DIGEST; }

// The name of a level, or null behind the last one.
API const char *mlpmixer_level(int index) { return level_names()[index]; }

// Why levels with tiles cannot run here; no words: they can.
API const char *mlpmixer_tiles_missing() { return tiles_missing(); }

// Whether a level has kernels for a precision that this processor can run.
API int mlpmixer_runs(const char *level, int precision) {
    return find_kernels(level, Precision(precision)) != nullptr;
}

// shape: height, width, patch, colours, channels, depth, token_hidden, channel_hidden, classes, gelu.
// weights: the stem's weight and bias; twelve of each block in the order of BlockWeights; the final
// norm's gain and shift; the head's weight and bias. Returns null where memory is short.
API void *mlpmixer_create(const char *level, int precision, const char *head_level,
                          int head_precision, const int64_t *shape, float epsilon,
                          const float *const *weights) {
    const Kernels *kernels = find_kernels(level, Precision(precision));
    const Kernels *head_kernels = find_kernels(head_level, Precision(head_precision));
    if (!kernels || !head_kernels) return nullptr;
    const Shape s = {shape[0], shape[1], shape[2], shape[3], shape[4],       shape[5],
                     shape[6], shape[7], shape[8], Gelu(shape[9]), epsilon};
    try {
        std::vector<BlockWeights> blocks;
        const float *const *w = weights + 2;
        for (int64_t i = 0; i < s.depth; ++i, w += 12)
            blocks.push_back({w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10],
                              w[11]});
        return new Mixer(*kernels, *head_kernels, s,
                         {weights[0], weights[1], blocks.data(), w[0], w[1], w[2], w[3]});
    } catch (const std::exception &) {
        return nullptr;
    }
}

API void mlpmixer_destroy(void *mixer) { delete static_cast<Mixer *>(mixer); }

// strides: of image, colour, row and column in floats. Returns 0, or 1 where memory is short.
API int mlpmixer_forward(void *mixer, const float *images, const int64_t *strides, int64_t batch,
                         int threads, float *tokens, float *pooled, float *logits) {
    try {
        static_cast<Mixer *>(mixer)->forward(
            {images, {strides[0], strides[1], strides[2], strides[3]}}, batch, threads,
            {tokens, pooled, logits});
        return 0;
    } catch (const std::exception &) {
        return 1;
    }
}

// out = GELU of `count` values, as a level computes it for a precision. Returns 0, or 1: cannot run.
API int mlpmixer_gelu(const char *level, int precision, int form, const float *values,
                      int64_t count, float *out) {
    const Kernels *kernels = find_kernels(level, Precision(precision));
    if (!kernels) return 1;
    alignas(64) const float tile[MOST_TILE] = {};  // sums of 0: the bias is what is left
    alignas(64) float bias[MOST_TILE], result[MOST_TILE];
    const int64_t columns = kernels->tile_cols;
    for (int64_t i = 0; i < count; i += columns) {
        for (int64_t j = 0; j < columns; ++j) bias[j] = values[std::min(i + j, count - 1)];
        const Placement place = {1, nullptr, tile, tile, bias, tile, tile, result, 0};
        kernels->finish[form == TANH ? GELU_TANH : GELU_ERF](tile, place);
        std::copy(result, result + std::min(columns, count - i), out + i);
    }
    return 0;
}

namespace {

// sizes: images, tokens, channels, hidden, gelu, whether there is a residual.
MlpShape mlp_shape(const int64_t *sizes, float epsilon) {
    return {sizes[0], sizes[1], sizes[2], sizes[3], Gelu(sizes[4]), epsilon, sizes[5] != 0};
}

Kept kept_values(void *const *kept) {
    return {static_cast<char *>(kept[0]), static_cast<float *>(kept[1]), static_cast<float *>(kept[2])};
}

}  // namespace

// Bytes of hidden values that `mlpmixer_mlp_forward` keeps; -1: the level does not train.
API int64_t mlpmixer_mlp_hidden(const char *level, int precision, int across_tokens,
                                const int64_t *sizes) {
    const Kernels *kernels = find_kernels(level, Precision(precision));
    if (!kernels || !kernels->pack_lanes) return -1;
    const MlpShape shape = mlp_shape(sizes, 0);
    return across_tokens ? tokens_hidden_bytes(*kernels, shape)
                         : channels_hidden_bytes(*kernels, shape);
}

// weights: gain, shift, weight1, bias1, weight2, bias2; kept: hidden values, means, rates. Returns 0,
// or 1 where memory is short.
API int mlpmixer_mlp_forward(const char *level, int precision, int across_tokens,
                             const int64_t *sizes, float epsilon, const float *const *w,
                             const float *x, float *y, void *const *kept, int threads) {
    try {
        (across_tokens ? tokens_forward : channels_forward)(
            *find_kernels(level, Precision(precision)), mlp_shape(sizes, epsilon),
            {w[0], w[1], w[2], w[3], w[4], w[5]}, x, y, kept_values(kept), threads);
        return 0;
    } catch (const std::exception &) {
        return 1;
    }
}

// The same with gradients: of y, of x, and of the weights in their order.
API int mlpmixer_mlp_backward(const char *level, int precision, int across_tokens,
                              const int64_t *sizes, float epsilon, const float *const *w,
                              const float *x, const float *y_gradient, void *const *kept,
                              float *x_gradient, float *const *g, int threads) {
    try {
        (across_tokens ? tokens_backward : channels_backward)(
            *find_kernels(level, Precision(precision)), mlp_shape(sizes, epsilon),
            {w[0], w[1], w[2], w[3], w[4], w[5]}, x, y_gradient, kept_values(kept), x_gradient,
            {g[0], g[1], g[2], g[3], g[4], g[5]}, threads);
        return 0;
    } catch (const std::exception &) {
        return 1;
    }
}

// Operations a second of products over registers alone on so many threads; 0: cannot run here.
API double mlpmixer_ceiling(const char *level, int precision, int threads, double seconds) {
    Ceiling ceiling = {find_kernels(level, Precision(precision)), seconds};
    if (!ceiling.kernels) return 0;
    work_together(
        threads,
        [](void *context, Team &team, int) {
            Ceiling &ceiling = *static_cast<Ceiling *>(context);
            ceiling.start.wait(team);
            const double begun = now();
            double done = 0;
            while (now() - begun < ceiling.seconds) done += ceiling.kernels->ceiling(100000);
            add(ceiling.rate, done / (now() - begun));
        },
        &ceiling);
    return ceiling.rate.load();
}

// Bytes a second read from memory by so many threads, each from `bytes` of its own; 0: no memory.
API double mlpmixer_bandwidth(int64_t bytes, int threads) {
    try {
        Traffic traffic = {bytes};
        for (int i = 0; i < threads; ++i) traffic.memories.emplace_back(size_t(bytes));
        work_together(
            threads,
            [](void *context, Team &team, int rank) {
                Traffic &traffic = *static_cast<Traffic *>(context);
                const Memory &own = traffic.memories[size_t(rank)];
                const int64_t *words = reinterpret_cast<const int64_t *>(own.bytes());
                const int64_t count = traffic.bytes / 64 * 8;
                traffic.start.wait(team);
                const double begun = now();
                int64_t sums[8] = {};
                for (int round = 0; round < 4; ++round)
                    for (int64_t i = 0; i < count; i += 8)
                        for (int j = 0; j < 8; ++j) sums[j] += words[i + j];
                const double seconds = now() - begun;
                int64_t sum = 0;
                for (const int64_t part : sums) sum += part;
                asm volatile("" : : "r"(sum));
                add(traffic.rate, 4.0 * double(traffic.bytes) / seconds);
            },
            &traffic);
        return traffic.rate.load();
    } catch (const std::exception &) {
        return 0;
    }
}

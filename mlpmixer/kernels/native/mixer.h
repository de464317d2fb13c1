// A whole MLP-Mixer's inference: packed weights, and the loops over blocks, panels and tiles.
#pragma once

#include <memory>
#include <vector>

#include "linear.h"
#include "pool.h"

struct Shape {
    int64_t height, width;        // of an image in pixels
    int64_t patch, colours;       // side of a patch, colour channels
    int64_t channels, depth;      // C and the number of blocks
    int64_t token_hidden, channel_hidden;
    int64_t classes;              // 0: no head
    Gelu gelu;
    float epsilon;                // of LayerNorm

    int64_t tokens() const { return height / patch * (width / patch); }
    int64_t patch_values() const { return colours * patch * patch; }
};

// Float32 weights as PyTorch lays them out: (outputs, inputs).
struct BlockWeights {
    const float *gain1, *shift1, *weight1, *bias1, *weight2, *bias2;
    const float *gain2, *shift2, *weight3, *bias3, *weight4, *bias4;
};
struct Weights {
    const float *stem_weight, *stem_bias;
    const BlockWeights *blocks;
    const float *gain, *shift;
    const float *head_weight, *head_bias;
};

struct Images {
    const float *data;
    int64_t strides[4];  // of image, colour, row and column, in floats
};

struct Outputs {
    float *tokens;  // (B, S, C), normalised, or null
    float *pooled;  // (B, C)
    float *logits;  // (B, classes), or null
};

class Mixer {
  public:
    Mixer(const Kernels &kernels, const Kernels &head_kernels, const Shape &shape,
          const Weights &weights);

    ~Mixer();

    // Safe to call from several threads at once.
    void forward(const Images &images, int64_t batch, int threads, const Outputs &outputs);

    const Shape shape;

  private:
    struct Norm {
        Memory memory;
        const float *gain = nullptr, *shift = nullptr;
    };
    struct Block {
        Norm norm1, norm2;
        Linear token1, token2;      // left operands
        Linear channel1, channel2;  // right operands
    };
    struct Activations;  // of a group of images
    struct Scratch;      // of a thread
    struct Call;

    Finish gelu_as(Side side) const;
    int64_t images_of_a_group() const;
    Norm norm(const float *gain, const float *shift) const;
    void work(Call &call, Team &team, Scratch &scratch) const;
    void alone(Call &call, int64_t first, int64_t count, Activations &x, Scratch &scratch) const;
    void together(Call &call, Team &team, Scratch &scratch) const;
    void embed(const Images &images, int64_t first, Activations &x, int64_t from, int64_t to,
               Scratch &scratch) const;
    void mix_tokens(const Block &block, Activations &x, int64_t image, int64_t panel,
                    Scratch &scratch) const;
    void mix_channels(const Block &block, Activations &x, int64_t from, int64_t to,
                      Scratch &scratch) const;
    void pool(const Activations &x, int64_t image, const Outputs &outputs, int64_t index,
              Scratch &scratch) const;
    void classify(const Outputs &outputs, int64_t batch, int64_t from, int64_t to,
                  Scratch &scratch) const;
    void measure(Activations &x, int64_t from, int64_t to) const;
    std::unique_ptr<Scratch> borrow(bool works_alone);
    const Kernels &kernels, &head_kernels;
    Linear stem, head;
    std::vector<Block> blocks;
    Norm final_norm;
    int64_t padded_channels, stride;  // floats of a token, and between tokens
    int64_t chunk;                    // hidden channels at a time
    std::vector<std::unique_ptr<Scratch>> spare;  // guarded by gate()
};

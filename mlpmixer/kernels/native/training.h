// One of a block's two MLPs in training: LayerNorm, two products with a GELU between them, and the
// residual; forward, and backward from what forward kept. Products multiply operands of the kernels'
// precision, float32 or bfloat16; all else is float32.
//
// The hidden values before the GELU are kept in that precision, as lanes of right operands, and the
// mean and the rate of each row's LayerNorm. All else is computed again.
#pragma once

#include "kernels.h"

struct MlpShape {
    int64_t images, tokens, channels, hidden;
    Gelu gelu;
    float epsilon;  // of LayerNorm
    bool residual;  // whether the input is added to the output

    int64_t rows() const { return images * tokens; }
};

// As PyTorch lays them out: gain and shift (channels,), weights (outputs, inputs).
struct MlpWeights {
    const float *gain, *shift, *weight1, *bias1, *weight2, *bias2;
};
struct MlpGradients {
    float *gain, *shift, *weight1, *bias1, *weight2, *bias2;
};

struct Kept {
    char *hidden;        // so many bytes as the functions below say
    float *mean, *rate;  // (images·tokens,)
};

// x and y are (images, tokens, channels). All throw std::bad_alloc where memory is short. Gradients
// depend on the number of threads by rounding, not on their order.
int64_t tokens_hidden_bytes(const Kernels &kernels, const MlpShape &shape);
void tokens_forward(const Kernels &kernels, const MlpShape &shape, const MlpWeights &weights,
                    const float *x, float *y, const Kept &kept, int threads);
void tokens_backward(const Kernels &kernels, const MlpShape &shape, const MlpWeights &weights,
                     const float *x, const float *y_gradient, const Kept &kept, float *x_gradient,
                     const MlpGradients &gradients, int threads);

int64_t channels_hidden_bytes(const Kernels &kernels, const MlpShape &shape);
void channels_forward(const Kernels &kernels, const MlpShape &shape, const MlpWeights &weights,
                      const float *x, float *y, const Kept &kept, int threads);
void channels_backward(const Kernels &kernels, const MlpShape &shape, const MlpWeights &weights,
                       const float *x, const float *y_gradient, const Kept &kept,
                       float *x_gradient, const MlpGradients &gradients, int threads);

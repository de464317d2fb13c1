// A linear layer's weights, packed as the left or the right operand of products.
#pragma once

#include <vector>

#include "kernels.h"
#include "memory.h"

enum Side { LEFT, RIGHT };

class Linear {
  public:
    Linear() = default;

    // weight: (outputs, inputs), row by row; bias: (outputs,) or null.
    // chunk: products over inputs are taken in chunks of so many (the last one may be smaller); 0:
    // all at once.
    Linear(const Kernels &kernels, Side side, const float *weight, const float *bias,
           int64_t outputs, int64_t inputs, int64_t chunk = 0);

    const char *panel(int64_t index) const { return data.bytes() + index * panel_bytes; }
    const float *bias() const { return numbers; }
    const float *scale() const { return numbers + padded; }
    // int8: for each output the sum of a chunk's weights, by which an activation's offset counts.
    const float *offset(int64_t chunk_index) const { return numbers + (2 + chunk_index) * padded; }

    int64_t outputs = 0, inputs = 0;
    int64_t steps = 0;        // lanes along the inputs
    int64_t panels = 0;       // along the outputs
    int64_t padded = 0;       // outputs, up to whole panels
    int64_t panel_bytes = 0;
    bool finite = true;  // int8: whether all weights and biases are; others are lost in the steps

  private:
    Memory data, memory;
    float *numbers = nullptr;
};

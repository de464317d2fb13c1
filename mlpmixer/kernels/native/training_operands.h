// What the two MLPs have in common in training: how float32 operands are laid out, how rows of any
// width are read and written, and how threads share the work.
#pragma once

#include <algorithm>
#include <cstring>

#include "memory.h"
#include "pool.h"
#include "product.h"
#include "training.h"

// A matrix as a product's operand. The element (i, k), k summed over, lies at
// from[i·stride + k·summed_stride].
class Packed {
  public:
    Packed(const Kernels &k, bool left, const float *from, int64_t stride, int64_t summed_stride,
           int64_t count, int64_t summed) {
        const int64_t across = left ? k.tile_rows : k.tile_cols;
        panels = (count + across - 1) / across;
        panel_bytes = (left ? round_up(summed, BLOCK) : summed) * across * 4;
        memory = Memory(size_t(panels * panel_bytes));
        for (int64_t i = 0; i < count; ++i) {
            char *panel = memory.bytes() + i / across * panel_bytes;
            for (int64_t s = 0; s < summed; ++s) {
                const int64_t lane = left ? s / BLOCK * across * BLOCK + i % across * BLOCK + s % BLOCK
                                          : s * across + i % across;
                reinterpret_cast<float *>(panel)[lane] = from[i * stride + s * summed_stride];
            }
        }
    }
    const char *panel(int64_t index) const { return memory.bytes() + index * panel_bytes; }

    int64_t panels, panel_bytes;

  private:
    Memory memory;
};

// A vector with zeros behind it, up to a multiple of the tiles' columns.
class PaddedVector {
  public:
    PaddedVector(const float *from, int64_t count, int64_t padded)
        : memory(size_t(padded) * sizeof(float)) {
        std::memcpy(memory.floats(), from, size_t(count) * sizeof(float));
    }
    const float *data() const { return memory.floats(); }

  private:
    Memory memory;
};

// A left operand that is being written: 64 bytes of a row at a time.
struct LeftLines {
    LeftLines(const Kernels &k, char *data, int64_t summed)
        : kernels(k), data(data), tile_rows(k.tile_rows),
          panel_bytes(round_up(summed, BLOCK) * k.tile_rows * 4) {}

    char *line(int64_t row, int64_t block) const {
        return data + row / tile_rows * panel_bytes + (block * tile_rows + row % tile_rows) * LINE;
    }
    // A row of `count` floats, or more up to a multiple of 16.
    void write_row(int64_t row, const float *from, int64_t count) const {
        char *to = line(row, 0);
        for (int64_t i = 0; i < count; i += BLOCK, to += tile_rows * LINE)
            std::memcpy(to, from + i, LINE);
    }
    // The columns of one panel, (rows, width).
    void write_panel(const float *from, int64_t rows, int64_t panel, int64_t width) const {
        kernels.pack_panel(from, rows, width, tile_rows, panel_bytes, line(0, panel * width / BLOCK));
    }
    void write_panels(const float *from, int64_t rows, int64_t panels, int64_t width) const {
        for (int64_t p = 0; p < panels; ++p, from += rows * width) write_panel(from, rows, p, width);
    }

    const Kernels &kernels;
    char *data;
    int64_t tile_rows, panel_bytes;
};

// Floats between rows: an odd number of cache lines, so that a column's do not share a few sets.
inline int64_t row_stride(int64_t padded_columns) { return (padded_columns / 16 | 1) * 16; }

// Bytes of a left operand of so many rows.
inline int64_t left_bytes(const Kernels &k, int64_t rows, int64_t summed) {
    return (rows + k.tile_rows - 1) / k.tile_rows * k.tile_rows * round_up(summed, BLOCK) * 4;
}

// Calls line(column, first_row) for where the 16 values from first_row on of a column are to lie.
// from: (rows, columns), rows `stride` apart, both up to a multiple of 16.
template <class Line>
void transpose(const Kernels &k, const float *from, int64_t stride, int64_t rows, int64_t columns,
               const Line &line) {
    for (int64_t r = 0; r < rows; r += BLOCK)
        for (int64_t c = 0; c < columns; c += BLOCK) {
            alignas(LINE) float block[BLOCK][BLOCK];
            k.transpose_block(from + r * stride + c, stride, block[0]);
            for (int j = 0; j < BLOCK; ++j) std::memcpy(line(c + j, r), block[j], LINE);
        }
}

// Sums lie in panels of (rows, tile_cols), as the micro-kernel leaves them, so that one product's
// result is the next one's right operand.
//
// sums = left · right, or sums += left · right, over `steps` lanes; `left` from the first of them.
inline void multiply_panels(const Kernels &k, const char *left, int64_t left_bytes, int64_t rows,
                            const char *right, int64_t right_bytes, int64_t panels, int64_t steps,
                            float *sums, bool add) {
    const int64_t at_once = lanes_at_once(k, steps), tile = k.tile_cols;
    for (int64_t p = 0; p < panels; ++p, right += right_bytes, sums += rows * tile)
        for (int64_t from = 0; from < steps; from += at_once) {
            const int64_t count = std::min(at_once, steps - from);
            const char *part = right + from * tile * 4;
            // What comes next: the rest of this panel, or the next one.
            const char *next = from + count < steps ? part + count * tile * 4
                               : p + 1 < panels     ? right + right_bytes
                                                    : part;
            for (int64_t row = 0; row < rows; row += k.tile_rows) {
                const int64_t m = row / k.tile_rows;
                k.multiply(int(std::min<int64_t>(k.tile_rows, rows - row)), count,
                           left + m * left_bytes + from * k.tile_rows * 4, part, sums + row * tile,
                           add || from > 0, next + m * (count / 4) * LINE);
            }
        }
}

// work(i) for all i < count, by so many threads.
template <class Work> void divide(int threads, int64_t count, const Work &work) {
    struct Call {
        const Work &work;
        int64_t count;
        Stage stage = {};
    } call = {work, count};
    work_together(
        threads,
        [](void *context, Team &team, int) {
            Call &call = *static_cast<Call *>(context);
            team.help(call.stage, call.count, call.work);
            team.wait(call.stage, call.count);
        },
        &call);
}

// Memory of one thread's own, in parts that `place` names.
template <class Place> Memory memory_for(const Place &place) {
    Parts counted;
    place(counted);
    Memory memory(size_t(counted.used));
    Parts parts(memory.bytes());
    place(parts);
    return memory;
}

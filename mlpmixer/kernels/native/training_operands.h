// What the two MLPs have in common in training: how operands are laid out, how rows of any
// width are read and written, and how threads share the work.
#pragma once

#include <algorithm>
#include <cstring>

#include "memory.h"
#include "pool.h"
#include "product.h"
#include "training.h"

// Floats between rows: an odd number of cache lines, so that a column's do not share a few sets.
inline int64_t row_stride(int64_t padded_columns) { return (padded_columns / 16 | 1) * 16; }

// Bytes of so many values along K, and how many lanes they take. Nothing is divided by a number that
// the compiler does not know: it would cost as much as a row of a tile.
inline int64_t value_bytes(const Kernels &k, int64_t values) { return values << (k.group == 1 ? 2 : 1); }
inline int64_t lanes(const Kernels &k, int64_t values) { return (value_bytes(k, values) + 3) / 4; }
// The same in a right operand's panel, which may have whole blocks.
inline bool whole_blocks(const Kernels &k) { return k.block_cols < k.tile_cols; }
inline int64_t right_lanes(const Kernels &k, int64_t values) {
    return whole_blocks(k) ? round_up(lanes(k, values), BLOCK) : lanes(k, values);
}
// Rows of a panel of sums: a product may write whole tiles.
inline int64_t whole_rows(const Kernels &k, int64_t rows) { return round_up(rows, k.tile_rows); }

// A matrix of floats, row by row.
struct Rows {
    const float *data;
    int64_t stride, rows, columns;
};

// Rows of floats as they are where they end with a whole tile, else copied with zeros behind.
class PaddedRows {
  public:
    PaddedRows(const Kernels &k, const float *from, int64_t count, int64_t width, float *memory,
               int64_t stride)
        : k(k), from(from), count(count), width(width), memory(memory),
          stride(width % k.tile_cols == 0 ? width : stride) {}

    const float *rows(int64_t begin, int64_t many) const {
        if (stride == width) return from + begin * width;
        k.copy_rows(from + begin * width, width, many, width, memory, stride);
        return memory;
    }
    // Asks for one of `parts` of rows that will be needed soon.
    void fetch(int64_t begin, int64_t many, int64_t part, int64_t parts) const {
        const int64_t floats = std::min(many, count - begin) * width;
        for (int64_t i = part * floats / parts; i < (part + 1) * floats / parts; i += BLOCK)
            __builtin_prefetch(from + begin * width + i, 0, 2);
    }

  private:
    const Kernels &k;
    const float *from;
    int64_t count, width;
    float *memory;

  public:
    const int64_t stride;  // between rows
};

// Panels of an operand from some panel and lane on.
struct Panels {
    const char *data;
    int64_t bytes;  // of one
};

// An operand in memory: the left one's rows and the right one's columns lie in panels.
struct Operand {
    Operand(const Kernels &k, bool left, char *data, int64_t summed)
        : k(k), data(data), left(left),
          panel_bytes(left ? round_up(lanes(k, summed), BLOCK) * k.tile_rows * 4
                           : right_lanes(k, summed) * k.tile_cols * 4) {}

    char *panel(int64_t index) const { return data + index * panel_bytes; }
    // Left: the first line of a panel's block that holds a value along K. Right: where the lanes that
    // hold it begin; where panels have whole blocks, a block's first ones.
    char *line(int64_t index, int64_t summed) const {
        const int64_t byte = value_bytes(k, summed);
        return panel(index) + byte / LINE * k.tile_rows * LINE + byte % LINE;
    }
    char *lane(int64_t index, int64_t summed) const {
        return panel(index) + lanes(k, summed) * k.tile_cols * 4;
    }
    Panels from(int64_t index, int64_t summed) const { return {lane(index, summed), panel_bytes}; }
    Panels all() const { return {data, panel_bytes}; }

    // Writes a matrix. down: K goes down its columns, not along its rows. What is behind it is zeros,
    // up to a whole block of the left operand, the last lane of the right one or its whole block.
    void write(const Rows &from, bool down) const {
        const bool turned = left == down;
        const int64_t across = down ? from.columns : from.rows;
        const int64_t summed = down ? from.rows : from.columns, steps = lanes(k, summed);
        const int64_t in_panel = left ? k.tile_rows : k.tile_cols;
        // `outer` runs over the operand's rows or columns; they are the `at`-th of a panel.
        for (int64_t outer = 0, at = 0, index = 0; outer < across; outer += BLOCK) {
            for (int64_t step = 0, value = 0; step < steps; step += BLOCK, value += BLOCK * k.group) {
                alignas(LINE) float block[BLOCK][BLOCK];
                const int64_t r = down ? value : outer, c = down ? outer : value;
                char *group = left || !whole_blocks(k)
                                  ? nullptr  // a block does not lie in one piece
                                  : panel(index) + (step * in_panel + at * BLOCK) * 4;
                k.pack_lanes(from.data + r * from.stride + c, from.stride, from.rows - r,
                             from.columns - c, down, turned,
                             group ? reinterpret_cast<float *>(group) : block[0]);
                if (group) continue;
                if (left) {
                    char *to = line(index, value);
                    const int64_t count = std::min<int64_t>(BLOCK, across - outer);
                    for (int64_t i = 0, row = at; i < count; ++i, ++row) {
                        if (row == in_panel) {
                            row = 0;
                            to += panel_bytes;
                        }
                        std::memcpy(to + row * LINE, block[i], LINE);
                    }
                } else {
                    char *to = panel(index) + (step * in_panel + at) * 4;
                    const int64_t count = std::min<int64_t>(BLOCK, steps - step);
                    for (int64_t i = 0; i < count; ++i, to += in_panel * 4)
                        std::memcpy(to, block[i], LINE);
                }
            }
            for (at += BLOCK; at >= in_panel; at -= in_panel) ++index;
        }
    }

    const Kernels &k;
    char *data;
    bool left;
    int64_t panel_bytes;
};

// Bytes of an operand of so many rows or columns.
inline int64_t operand_bytes(const Kernels &k, bool left, int64_t count, int64_t summed) {
    const int64_t across = left ? k.tile_rows : k.tile_cols;
    return (count + across - 1) / across * Operand(k, left, nullptr, summed).panel_bytes;
}

// A weight as an operand. It is (rows, columns); down: K goes down its columns.
class Packed {
  public:
    Packed(const Kernels &k, bool left, const float *from, int64_t rows, int64_t columns, bool down)
        : memory(size_t(operand_bytes(k, left, down ? columns : rows, down ? rows : columns)),
                 (down ? columns : rows) % (left ? k.tile_rows : k.tile_cols) != 0),
          operand(k, left, memory.bytes(), down ? rows : columns) {
        operand.write({from, columns, rows, columns}, down);
    }

  private:
    Memory memory;

  public:
    const Operand operand;
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

constexpr int64_t TILED_AT_ONCE = 256;

// Lanes that a training product sums at once: with tiles twice as many as its right panel may have in
// L1, since their sums take as long to load and to store as 40 lanes to multiply.
inline int64_t summed_at_once(const Kernels &k, int64_t steps) {
    if (!whole_blocks(k)) return lanes_at_once(k, steps);
    const int64_t parts = (steps + TILED_AT_ONCE - 1) / TILED_AT_ONCE;
    return round_up((steps + parts - 1) / parts, BLOCK);
}

// Sums lie in panels of (whole_rows, tile_cols), as the micro-kernel leaves them.
//
// Computes left · right over `steps` lanes, tile by tile, for so many rows and panels of columns.
// place(panel, row): where a tile of sums is to lie, in memory for all its rows; `add`: to what is
// there. done(panel, left_panel, rows, tile) is called when a tile is complete.
template <class Place, class Done>
void multiply(const Kernels &k, Panels left, int64_t rows, Panels right, int64_t panels, int64_t steps,
              bool add, const Place &place, const Done &done) {
    const int64_t at_once = summed_at_once(k, steps), width = k.tile_cols;
    const int64_t row_panels = (rows + k.tile_rows - 1) / k.tile_rows, pieces = width / k.ahead_lines;
    for (int64_t p = 0; p < panels; ++p)
        for (int64_t from = 0; from < steps; from += at_once) {
            const int64_t count = std::min(at_once, steps - from);
            const bool last = from + count == steps;
            const char *columns = right.data + p * right.bytes, *part = columns + from * width * 4;
            // What comes next: the rest of this panel, or the next one.
            const char *next = !last            ? part + count * width * 4
                               : p + 1 < panels ? columns + right.bytes
                                                : part;
            for (int64_t row = 0, m = 0; row < rows; row += k.tile_rows, ++m) {
                const int many = int(std::min<int64_t>(k.tile_rows, rows - row));
                float *tile = place(p, row);
                // It is fetched in pieces. Besides, where sums are added to, these two tiles on, and at
                // first the left operand.
                const int64_t piece = add && p == 0 ? m - (row_panels - pieces) : m;
                const char *ahead = part;
                if (piece >= 0 && piece < pieces)
                    ahead = next + piece * (count / BLOCK) * k.ahead_lines * LINE;
                else if (add)
                    ahead = p == 0 ? left.data + (m + 1) * left.bytes
                                   : reinterpret_cast<const char *>(place(p, row + 2 * k.tile_rows));
                k.multiply(many, count, left.data + m * left.bytes + from * k.tile_rows * 4, part,
                           tile, add || from > 0, ahead);
                if (last) done(p, m, many, tile);
            }
        }
}

// sums = left · right, or sums += left · right: panels of (whole_rows, tile_cols).
inline void multiply_panels(const Kernels &k, Panels left, int64_t rows, Panels right, int64_t panels,
                            int64_t steps, float *sums, bool add) {
    const int64_t in_panel = whole_rows(k, rows);
    const auto place = [&](int64_t p, int64_t row) {
        return sums + (p * in_panel + row) * k.tile_cols;
    };
    multiply(k, left, rows, right, panels, steps, add, place,
             [](int64_t, int64_t, int, float *) {});
}

// The same where each tile is done with at once: `tiles` is memory for a panel of them.
template <class Done>
void multiply_and_finish(const Kernels &k, Panels left, int64_t rows, Panels right, int64_t panels,
                    int64_t steps, float *tiles, const Done &done) {
    const bool parts = summed_at_once(k, steps) < steps;
    const auto place = [&](int64_t, int64_t row) { return tiles + (parts ? row * k.tile_cols : 0); };
    multiply(k, left, rows, right, panels, steps, false, place, done);
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
template <class Place> Memory memory_for(const Place &place, bool zeroed = true) {
    Parts counted;
    place(counted);
    Memory memory(size_t(counted.used), zeroed);
    Parts parts(memory.bytes());
    place(parts);
    return memory;
}

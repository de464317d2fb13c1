// All that is not a product: LayerNorm, packing of operands, and what becomes of a tile of sums.
#pragma once

#include <cstdint>

#include "gelu.h"
#include "kernels.h"

#define INLINE inline __attribute__((always_inline))

namespace {

// The first `count` < LANES floats at p, the other lanes filled with `fill`.
inline F load_first(const float *p, int64_t count, float fill) {
    float lanes[LANES];
    for (int i = 0; i < LANES; ++i) lanes[i] = i < count ? p[i] : fill;
    return load(lanes);
}

// The `count` floats from p + at on, at most LANES, the other lanes filled with `fill`.
inline F load_some(const float *p, int64_t at, int64_t count, float fill) {
    return count - at >= LANES ? load(p + at) : load_first(p + at, count - at, fill);
}

#ifndef OWN_BFLOAT16
// bfloat16 in the low half of each lane, rounded to nearest, ties to even. A NaN is not rounded, which
// could carry into its sign, but gets the highest bit of its fraction.
inline I to_bfloat16(F v) {
    const I bits = as_lanes(v);
    const I odd = both(right_shift<16>(bits), lanes_of(1));
    const I magnitude = both(bits, lanes_of(0x7fffffff));
    const I nan = right_shift<31>(plus(magnitude, lanes_of(0x7fffff)));  // 1, else 0
    const I half = both(plus(nan, lanes_of(-1)), plus(odd, lanes_of(0x7fff)));
    return either(right_shift<16>(plus(bits, half)), left_shift<6>(nan));
}
inline void store_bfloat16(uint16_t *p, F v) { store_halves(p, to_bfloat16(v)); }
inline void store_bfloat16s(char *p, F first, F second) {
    store_bfloat16(reinterpret_cast<uint16_t *>(p), first);
    store_bfloat16(reinterpret_cast<uint16_t *>(p) + LANES, second);
}
// Lanes of two values each, the first in the low half.
inline I bfloat16_pairs(F first, F second) {
    return either(to_bfloat16(first), left_shift<16>(to_bfloat16(second)));
}
#endif

inline void statistics(const float *row, int64_t width, float epsilon, float *mean, float *rate) {
    F sums[2] = {zero(), zero()};
    int64_t i = 0;
    for (; i + 2 * LANES <= width; i += 2 * LANES) {
        sums[0] = sums[0] + load(row + i);
        sums[1] = sums[1] + load(row + i + LANES);
    }
    for (; i < width; i += LANES) sums[0] = sums[0] + load_some(row, i, width, 0);
    *mean = sum(sums[0] + sums[1]) / float(width);
    const F middle = all(*mean);
    F squares[2] = {zero(), zero()};
    for (i = 0; i + 2 * LANES <= width; i += 2 * LANES) {
        const F first = load(row + i) - middle, second = load(row + i + LANES) - middle;
        squares[0] = fma(first, first, squares[0]);
        squares[1] = fma(second, second, squares[1]);
    }
    for (; i < width; i += LANES) {
        const F difference = load_some(row, i, width, *mean) - middle;
        squares[0] = fma(difference, difference, squares[0]);
    }
    *rate = 1 / __builtin_sqrtf(sum(squares[0] + squares[1]) / float(width) + epsilon);
}

inline void normalize(const float *x, int64_t stride, int64_t rows, int64_t count,
                      const float *mean, const float *rate, const float *gain, const float *shift,
                      float *out, int64_t out_stride) {
    for (int64_t r = 0; r < rows; ++r) {
        const F scale = all(rate[r]), middle = all(mean[r]);
        const float *row = x + r * stride;
        float *to = out + r * out_stride;
        for (int64_t i = 0; i < count; i += LANES)
            store(to + i, fma(load(row + i) - middle, scale * load(gain + i), load(shift + i)));
    }
}

inline bool all_finite(const float *values, int64_t count) {
    F zeros = zero();  // NaN where a value is none of the numbers
    for (int64_t i = 0; i < count; i += LANES)
        zeros = fma(load_some(values, i, count, 0), zero(), zeros);
    return sum(zeros) == 0;
}

inline void accumulate_row(const float *row, int64_t count, float *total) {
    for (int64_t i = 0; i < count; i += LANES) store(total + i, load(total + i) + load(row + i));
}

// int8: the q = rounded((value - offset) / scale) of 0 to 255 for values between offset and
// offset + 255·scale.
struct Steps {
    F scale, offset, inverse;
    Steps(F low, F high) : scale((high - low) * all(1.0f / 255)), offset(low) {
        // Equal values: every q is 0, without a division by 0.
        inverse = all(255.0f) * (all(1.0f) / higher(high - low, all(1e-30f)));
    }
    I quantized(F v) const { return rounded((v - offset) * inverse); }
};

// Where a lane of a right panel lies, in lanes; see `right_lane`.
template <int COLS, int BLOCK_COLS> inline int64_t right_place(int64_t step, int column) {
    if (COLS == BLOCK_COLS) return step * COLS + column;
    return step / BLOCK * BLOCK * COLS + column / BLOCK_COLS * BLOCK * BLOCK_COLS +
           step % BLOCK * BLOCK_COLS + column % BLOCK_COLS;
}

// Zeros behind the last lanes of a right panel, up to a whole block where panels have such.
template <int COLS, int BLOCK_COLS> inline void pad_lanes(int64_t steps, uint32_t *right) {
    if (COLS == BLOCK_COLS) return;
    for (int64_t s = steps; s % BLOCK; ++s)
        for (int j = 0; j < COLS; j += LANES)
            store_lanes(right + right_place<COLS, BLOCK_COLS>(s, j), no_lanes());
}

// How values become lanes: `lanes` puts neighbours along K together, `values` takes them out again,
// and `store_two` writes two vectors of a row of a left operand.
struct Float32Lanes {
    static constexpr int group = 1;
    static I lanes(const F (&values)[1]) { return as_lanes(values[0]); }
    static void values(I lanes, F (&values)[1]) { values[0] = as_float(lanes); }
    static void store_two(char *to, char *behind, F first, F second) {
        store(reinterpret_cast<float *>(to), first);
        store(reinterpret_cast<float *>(behind), second);
    }
};
struct Bfloat16Lanes {
    static constexpr int group = 2;
    static I lanes(const F (&values)[2]) { return bfloat16_pairs(values[0], values[1]); }
    static void values(I lanes, F (&values)[2]) {
        values[0] = as_float(left_shift<16>(lanes));
        values[1] = as_float(both(lanes, lanes_of(int32_t(0xffff0000))));
    }
    static void store_two(char *to, char *, F first, F second) { store_bfloat16s(to, first, second); }
};

// Writes two vectors of a row, from a column of its tile on, to a left operand; `line` is where the
// row's first lane lies.
template <class Lanes, int TILE_ROWS>
INLINE void put_left(char *line, int column, F first, F second) {
    const auto at = [&](int column) {
        const int byte = column * 4 / Lanes::group;
        return line + byte / LINE * TILE_ROWS * LINE + byte % LINE;
    };
    Lanes::store_two(at(column), at(column + LANES), first, second);
}

template <int TILE_ROWS> struct Float32Operands : Float32Lanes {
    static constexpr int tile_rows = TILE_ROWS;
    static void pack_row(const float *row, int64_t count, int64_t steps, void *left, float *,
                         float *) {
        float *to = static_cast<float *>(left);
        for (int64_t i = 0; i < steps; i += BLOCK, to += TILE_ROWS * BLOCK)
            for (int j = 0; j < BLOCK; j += LANES) store(to + j, load_some(row, i + j, count, 0));
    }
    template <int COLS, int>
    static void pack_columns(const float *values, int64_t count, int64_t, void *right, float *,
                             float *) {
        __builtin_memcpy(right, values, sizeof(float) * COLS * count);
    }
};

template <int TILE_ROWS> struct Bfloat16Operands : Bfloat16Lanes {
    static constexpr int tile_rows = TILE_ROWS;
    static void pack_row(const float *row, int64_t count, int64_t steps, void *left, float *,
                         float *) {
        uint16_t *to = static_cast<uint16_t *>(left);
        for (int64_t i = 0; i < steps * 2; i += 2 * BLOCK, to += TILE_ROWS * 2 * BLOCK)
            for (int j = 0; j < 2 * BLOCK; j += LANES)
                store_bfloat16(to + j, load_some(row, i + j, count, 0));
    }
    template <int COLS, int BLOCK_COLS>
    static void pack_columns(const float *values, int64_t count, int64_t steps, void *right,
                             float *, float *) {
        uint32_t *to = static_cast<uint32_t *>(right);
        for (int64_t s = 0; s < steps; ++s, values += 2 * COLS)
            for (int j = 0; j < COLS; j += LANES) {
                const F even = load(values + j);
                const F odd = 2 * s + 1 < count ? load(values + COLS + j) : zero();
                store_lanes(to + right_place<COLS, BLOCK_COLS>(s, j), bfloat16_pairs(even, odd));
            }
        pad_lanes<COLS, BLOCK_COLS>(steps, to);
    }
};

template <int TILE_ROWS> struct Int8Operands {
    static constexpr int group = 4, tile_rows = TILE_ROWS;
    static void pack_row(const float *row, int64_t count, int64_t steps, void *left, float *scale,
                         float *offset) {
        F low = all(row[0]), high = low;
        for (int64_t i = 0; i < count; i += LANES) {
            const F v = load_some(row, i, count, row[0]);
            low = lower(low, v);
            high = higher(high, v);
        }
        const float least = lowest(low), most = highest(high);
        const Steps q(all(least), all(most));
        *scale = (most - least) * (1.0f / 255);
        *offset = least;
        uint8_t *to = static_cast<uint8_t *>(left);
        for (int64_t i = 0; i < steps * 4; i += 4 * BLOCK, to += TILE_ROWS * 4 * BLOCK)
            for (int j = 0; j < 4 * BLOCK; j += LANES)
                store_bytes(to + j, q.quantized(load_some(row, i + j, count, least)));
    }
    template <int COLS, int BLOCK_COLS>
    static void pack_columns(const float *values, int64_t count, int64_t steps, void *right,
                             float *scale, float *offset) {
        uint32_t *to = static_cast<uint32_t *>(right);
        for (int j = 0; j < COLS; j += LANES) {
            F low = load(values + j), high = low;
            for (int64_t i = 1; i < count; ++i) {
                const F v = load(values + i * COLS + j);
                low = lower(low, v);
                high = higher(high, v);
            }
            const Steps q(low, high);
            store(scale + j, q.scale);
            store(offset + j, q.offset);
            for (int64_t s = 0; s < steps; ++s) {
                const float *from = values + 4 * s * COLS + j;
                const int64_t left = count - 4 * s;
                I lane = q.quantized(load(from));
                if (left > 1) lane = either(lane, left_shift<8>(q.quantized(load(from + COLS))));
                if (left > 2)
                    lane = either(lane, left_shift<16>(q.quantized(load(from + 2 * COLS))));
                if (left > 3)
                    lane = either(lane, left_shift<24>(q.quantized(load(from + 3 * COLS))));
                store_lanes(to + right_place<COLS, BLOCK_COLS>(s, j), lane);
            }
        }
        pad_lanes<COLS, BLOCK_COLS>(steps, to);
    }
};

// Sums: how sums are read; SCALED: whether they are of int8 operands, which are not laid out here.
template <class Sums, bool SCALED, class TanhForm, class ErfForm, class Operands, int COLS,
          int BLOCK_COLS>
struct FinishTile {
    template <Finish KIND> static void finish(const void *tile, const Placement &place) {
        int r = 0;
        for (; r + 2 <= place.rows; r += 2) rows<KIND, 2>(tile, place, r);
        if (r < place.rows) rows<KIND, 1>(tile, place, r);
    }

  private:
    static INLINE F value(const void *tile, const Placement &place, int row, int column) {
        const F sum = Sums::value(tile, row * COLS + column);
        F rest = place.row_bias ? all(place.row_bias[row]) : zero();
        if (place.column_bias) rest = rest + load(place.column_bias + column);
        if (!SCALED) return sum + rest;
        const F scale = all(place.row_scale[row]) * load(place.column_scale + column);
        rest = fma(all(place.row_offset[row]), load(place.column_offset + column), rest);
        return fma(sum, scale, rest);
    }

    template <class Form, int COUNT> static INLINE void apply(F (&values)[COUNT]) {
        F halves[COUNT];
        halves_and_odds<Form>(values, halves);
        for (int i = 0; i < COUNT; ++i) values[i] = values[i] * halves[i];
    }

    template <Finish KIND, int ROWS>
    static INLINE void rows(const void *tile, const Placement &place, int from) {
        constexpr bool tanh = KIND == GELU_TANH || KIND == LEFT_TANH || KIND == RIGHT_TANH;
        constexpr bool erf = KIND == GELU_ERF || KIND == LEFT_ERF || KIND == RIGHT_ERF;
        for (int j = 0; j < COLS; j += 2 * LANES) {
            F values[2 * ROWS];  // two of each row
#pragma GCC unroll 4
            for (int i = 0; i < 2 * ROWS; ++i)
                values[i] = value(tile, place, from + i / 2, j + i % 2 * LANES);
            if constexpr (tanh) apply<TanhForm>(values);
            if constexpr (erf) apply<ErfForm>(values);
            if constexpr (KIND == LEFT_TANH || KIND == LEFT_ERF) {
                for (int r = 0; r < ROWS; ++r)
                    put_left<Operands, Operands::tile_rows>(place.operand + (from + r) * LINE, j,
                                                            values[2 * r], values[2 * r + 1]);
            } else if constexpr (KIND == RIGHT_TANH || KIND == RIGHT_ERF) {
                put_right(place.operand, from, j, values);
            } else {
#pragma GCC unroll 4
                for (int i = 0; i < 2 * ROWS; ++i) {
                    float *to = place.out + (from + i / 2) * place.stride + j + i % 2 * LANES;
                    store(to, KIND == ADD ? values[i] + load(to) : values[i]);
                }
            }
        }
    }

    // Rows that share a lane; of one without a neighbour the other half is 0.
    template <int COUNT>
    static INLINE void put_right(char *operand, int from, int column, const F (&values)[COUNT]) {
        constexpr int group = Operands::group;
        for (int r = 0; r < COUNT / 2; r += group)
            for (int v = 0; v < 2; ++v) {
                F down[group];
                for (int g = 0; g < group; ++g)
                    down[g] = r + g < COUNT / 2 ? values[2 * (r + g) + v] : zero();
                const int64_t place =
                    right_place<COLS, BLOCK_COLS>((from + r) / group, column + v * LANES);
                store_lanes(operand + place * 4, Operands::lanes(down));
            }
    }
};

}  // namespace

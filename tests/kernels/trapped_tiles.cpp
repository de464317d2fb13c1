// Runs the level of AMX as it is built on a processor without tiles: each instruction that the
// processor does not know is decoded where it traps, and done by the emulated tiles. So encoding,
// registers, addresses and order are tested, and only the processor's own arithmetic is not.
//
// `make tiles` builds and runs it; the processor needs AVX-512 BF16. Exit status 0: all is right.
#include <signal.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "levels.h"
#include "mixer.h"
#include "tiles_emulated.h"

namespace {

std::atomic<long> trapped{0};
thread_local TileState tiles;

// The registers in the order of their numbers.
const int NUMBERS[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                         REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

void give_up(const uint8_t *at) {
    std::fprintf(stderr, "unknown instruction: %02x %02x %02x %02x %02x\n", at[0], at[1], at[2],
                 at[3], at[4]);
    _exit(2);
}

// One instruction of AMX: a prefix of three bytes (C4), opcode, ModRM, and what an address needs.
void step(int, siginfo_t *, void *context) {
    greg_t *registers = static_cast<ucontext_t *>(context)->uc_mcontext.gregs;
    const auto *code = reinterpret_cast<const uint8_t *>(registers[REG_RIP]);
    if (code[0] != 0xc4 || (code[1] & 31) != 2) give_up(code);
    const int high_base = code[1] & 0x20 ? 0 : 8, high_index = code[1] & 0x40 ? 0 : 8;
    const int third = ~(code[2] >> 3) & 15, prefix = code[2] & 3;
    const int opcode = code[3], mode = code[4] >> 6, first = code[4] >> 3 & 7;
    const int second = code[4] & 7;
    const uint8_t *next = code + 5;
    enum { NONE, P66, F3, F2 };
    ++trapped;
    if (mode == 3) {
        if (opcode == 0x49 && prefix == NONE && !first && !second) tiles.release();
        else if (opcode == 0x49 && prefix == F2) tiles.zero(first);
        else if (opcode == 0x5c && prefix == F3) tiles.dot(BFLOAT16_PAIRS, first, second, third);
        else if (opcode == 0x5e && prefix == P66)
            tiles.dot(UNSIGNED_BY_SIGNED, first, second, third);
        else if (opcode == 0x5e && prefix == F3)
            tiles.dot(SIGNED_BY_UNSIGNED, first, second, third);
        else give_up(code);
    } else {
        int64_t address = 0, stride = 0;
        bool relative = false;
        if (second == 4) {
            const int sib = *next++, index = (sib >> 3 & 7) + high_index;
            if ((sib & 7) == 5 && mode == 0) give_up(code);
            address = registers[NUMBERS[(sib & 7) + high_base]];
            if (index != 4) stride = registers[NUMBERS[index]] << (sib >> 6);
        } else if (second == 5 && mode == 0) {
            relative = true;
        } else {
            address = registers[NUMBERS[second + high_base]];
        }
        if (mode == 1) {
            address += int8_t(*next++);
        } else if (mode == 2 || relative) {
            int32_t distance;
            std::memcpy(&distance, next, 4);
            next += 4;
            address += distance;
            if (relative) address += reinterpret_cast<int64_t>(next);
        }
        void *memory = reinterpret_cast<void *>(address);
        if (opcode == 0x49 && prefix == NONE && !first)
            tiles.configure(*static_cast<const TileConfig *>(memory));
        else if (opcode == 0x4b && (prefix == F2 || prefix == P66)) tiles.load(first, memory, stride);
        else if (opcode == 0x4b && prefix == F3) tiles.store(first, memory, stride);
        else give_up(code);
    }
    registers[REG_RIP] = reinterpret_cast<greg_t>(next);
}

std::mt19937 generator(0);

int wrong = 0;
void expect(bool right, const char *what, int rows, int64_t steps) {
    if (right) return;
    ++wrong;
    std::fprintf(stderr, "wrong: %s, %d rows, %ld lanes\n", what, rows, long(steps));
}

// Products of the built level, of the emulated one, and as sums over the operands in float64.
void check_products(const Kernels &built, const Kernels &emulated, bool signed_left) {
    const bool floats = built.precision == BFLOAT16;
    const int group = built.group, cols = built.tile_cols;
    std::normal_distribution<float> normal;
    const auto random_value = [&]() -> uint32_t {
        if (!floats) return generator() & 255;
        const float value = normal(generator);
        uint32_t bits;
        std::memcpy(&bits, &value, 4);
        return bits >> 16;
    };
    for (const int64_t steps : {1, 15, 16, 17, 49, 96})
        for (int rows = 1; rows <= built.tile_rows; rows += rows % 7 + 1) {
            const int64_t blocks = (steps + BLOCK - 1) / BLOCK;
            Memory left(size_t(blocks * 2 * TILE_BYTES)), right(size_t(blocks * 4 * TILE_BYTES));
            std::vector<double> expected(size_t(rows) * cols);
            std::vector<double> a(size_t(rows * steps * group)), b(size_t(cols * steps * group));
            const int bits = 32 / group;
            const auto put = [&](char *lane, int i, double &value, bool is_signed) {
                const uint32_t one = random_value();
                std::memcpy(lane + i * bits / 8, &one, size_t(bits / 8));
                value = floats ? double(of_bfloat16(one)) : is_signed ? int8_t(one) : int(one);
            };
            for (int64_t s = 0; s < steps; ++s)
                for (int i = 0; i < group; ++i) {
                    for (int r = 0; r < rows; ++r)
                        put(left.bytes() + s / BLOCK * 2 * TILE_BYTES + r * LINE + s % BLOCK * 4,
                            i, a[size_t((r * steps + s) * group + i)], signed_left);
                    for (int c = 0; c < cols; ++c)
                        put(right.bytes() + right_lane(built, s, c), i,
                            b[size_t((c * steps + s) * group + i)], !signed_left);
                }
            alignas(64) uint32_t found[2][MOST_TILE] = {};
            for (int times = 1; times <= 2; ++times) {  // the second time added to the first
                int which = 0;
                for (const Kernels *k : {&built, &emulated}) {
                    k->begin();
                    (signed_left ? k->multiply_signed : k->multiply)(
                        rows, steps, left.bytes(), right.bytes(), found[which++], times > 1,
                        right.bytes());
                    k->end();
                }
                bool near = true;
                for (int r = 0; r < rows; ++r)
                    for (int c = 0; c < cols; ++c) {
                        double sum = 0, size = 0;
                        for (int64_t i = 0; i < steps * group; ++i) {
                            const double one = a[size_t(r * steps * group + i)] *
                                               b[size_t(c * steps * group + i)];
                            sum += one, size += std::fabs(one);
                        }
                        float value;
                        std::memcpy(&value, &found[0][r * cols + c], 4);
                        const double got = floats ? double(value) : int32_t(found[0][r * cols + c]);
                        near &= std::fabs(got - times * sum) <= (floats ? 2e-6 * size : 0);
                    }
                expect(near, "sums", rows, steps);
                expect(!std::memcmp(found[0], found[1], size_t(rows * cols) * 4),
                       "not as emulated", rows, steps);
            }
        }
}

// A whole network by both levels: their other kernels round differently, hence the tolerance.
void check_mixer(const Kernels &built, const Kernels &emulated, const Kernels &head, Gelu gelu,
                 int threads, float tolerance) {
    const Shape shape = {28, 26, 2, 3, 97, 2, 70, 150, 11, gelu, 1e-6f};  // 182 tokens
    std::vector<std::vector<float>> held;
    std::normal_distribution<float> normal;
    const auto random = [&](int64_t outputs, int64_t inputs) {
        std::vector<float> values(size_t(outputs * inputs));
        for (float &v : values) v = normal(generator) / std::sqrt(float(inputs));
        held.push_back(std::move(values));
        return held.back().data();
    };
    const int64_t s = shape.tokens(), c = shape.channels, t = shape.token_hidden;
    const int64_t h = shape.channel_hidden;
    std::vector<BlockWeights> blocks;
    for (int64_t i = 0; i < shape.depth; ++i)
        blocks.push_back({random(c, 1), random(c, 1), random(t, s), random(t, 1), random(s, t),
                          random(s, 1), random(c, 1), random(c, 1), random(h, c), random(h, 1),
                          random(c, h), random(c, 1)});
    const Weights weights = {random(c, shape.patch_values()), random(c, 1), blocks.data(),
                             random(c, 1), random(c, 1), random(shape.classes, c),
                             random(shape.classes, 1)};
    const int64_t batch = 2, image = shape.colours * shape.height * shape.width;
    const float *pixels = random(batch * image, 1);
    const Images images = {pixels, {image, shape.height * shape.width, shape.width, 1}};
    std::vector<float> results[2];
    for (int which = 0; which < 2; ++which) {
        std::vector<float> &tokens = results[which];
        tokens.resize(size_t(batch * s * c));
        std::vector<float> pooled(size_t(batch * c));
        Mixer mixer(which ? emulated : built, head, shape, weights);
        mixer.forward(images, batch, threads, {tokens.data(), pooled.data(), nullptr});
    }
    float most = 0, apart = 0;
    for (size_t i = 0; i < results[0].size(); ++i) {
        most = std::max(most, std::fabs(results[1][i]));
        const float difference = std::fabs(results[0][i] - results[1][i]);
        apart = difference <= apart ? apart : difference;  // keeps what is no number
    }
    std::printf("%s, %s, %d threads: %.2g of the largest value apart\n", built.level,
                built.precision == INT8 ? "int8" : "bfloat16", threads, double(apart / most));
    expect(apart <= tolerance * most, "tokens", int(s), c);
}

}  // namespace

int main() {
    struct sigaction action = {};
    action.sa_sigaction = step;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, nullptr);
    if (!amx_bfloat16()) return std::fprintf(stderr, "the assembler knows no tiles\n"), 3;
    const Kernels &halves = *amx_bfloat16(), &bytes = *amx_int8();
    const Kernels &halves_emulated = *amx_emulated_bfloat16(), &bytes_emulated = *amx_emulated_int8();
    check_products(halves, halves_emulated, false);
    check_products(bytes, bytes_emulated, false);
    check_products(bytes, bytes_emulated, true);
    for (const int threads : {1, 2}) {
        const Gelu gelu = threads == 1 ? TANH : ERF;
        check_mixer(halves, halves_emulated, *portable_float32(), gelu, threads, 0.02f);
        check_mixer(bytes, bytes_emulated, *portable_float32(), gelu, threads, 0.02f);
    }
    expect(halves.ceiling(10) > 0 && bytes.ceiling(10) > 0, "ceiling", 0, 0);
    std::printf("%ld instructions trapped, %d checks failed\n", trapped.load(), wrong);
    return wrong || !trapped;
}

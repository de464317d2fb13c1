// Which levels this build has and this processor can run.
#include "levels.h"

#include <atomic>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

enum Feature { NOTHING, AVX2, AVX512, AVX512_BF16, AVX512_VNNI, AMX, FEATURES };

#if defined(__x86_64__)

// The registers that the system saves when it switches threads.
uint64_t saved_state() {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return uint64_t(high) << 32 | low;
}

// Asks the system, once for this process, to keep room for tiles beside each thread.
bool tiles_granted() {
#if defined(__linux__) && defined(SYS_arch_prctl)
    constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    static const bool granted = syscall(SYS_arch_prctl, request, tile_data) == 0;
    return granted;
#else
    return false;
#endif
}

bool find_out(Feature feature) {
    unsigned a, b, c, d;
    if (feature == NOTHING) return true;
    if (feature == AMX) return !*tiles_missing();
    if (!__get_cpuid(1, &a, &b, &c, &d)) return false;
    const bool fma = c >> 12 & 1, saves = c >> 27 & 1;
    if (!fma || !saves || (saved_state() & 0x6) != 0x6) return false;
    unsigned most, b7, c7, d7;
    if (!__get_cpuid_count(7, 0, &most, &b7, &c7, &d7)) return false;
    const bool avx2 = b7 >> 5 & 1;
    if (feature == AVX2) return avx2;
    const bool avx512 = (b7 >> 16 & 1) && (b7 >> 17 & 1) && (b7 >> 30 & 1) && (b7 >> 31 & 1);
    if (!avx2 || !avx512 || (saved_state() & 0xe6) != 0xe6) return false;  // F, DQ, BW, VL
    if (feature == AVX512) return true;
    if (feature == AVX512_VNNI) return c7 >> 11 & 1;
    if (most < 1 || !__get_cpuid_count(7, 1, &a, &b, &c, &d)) return false;
    return a >> 5 & 1;
}

#else

bool find_out(Feature feature) { return feature == NOTHING; }

#endif

// Asks once: each question to the processor leaves a virtual machine, for tens of microseconds.
bool runs(Feature feature) {
    static std::atomic<int> known[FEATURES] = {};
    int found = known[feature];
    if (!found) known[feature] = found = find_out(feature) ? 1 : 2;
    return found == 1;
}

struct Entry {
    const char *level;
    Precision precision;
    Feature feature;
    const Kernels *(*kernels)();
};

const Entry ENTRIES[] = {
    {"portable", FLOAT32, NOTHING, portable_float32},
    {"portable", BFLOAT16, NOTHING, portable_bfloat16},
    {"portable", INT8, NOTHING, portable_int8},
#if defined(__x86_64__)
    {"avx2", FLOAT32, AVX2, avx2_float32},
    {"avx2", BFLOAT16, AVX2, avx2_bfloat16},
    {"avx2", INT8, AVX2, avx2_int8},
    {"avx512", FLOAT32, AVX512, avx512_float32},
    {"avx512_bf16", BFLOAT16, AVX512_BF16, avx512_bfloat16},
    {"avx512_vnni", INT8, AVX512_VNNI, avx512_int8},
    {"amx", BFLOAT16, AMX, amx_bfloat16},
    {"amx", INT8, AMX, amx_int8},
#endif
    {"amx_emulated", BFLOAT16, NOTHING, amx_emulated_bfloat16},
    {"amx_emulated", INT8, NOTHING, amx_emulated_int8},
};

const char *const LEVELS[] = {"portable",    "avx2", "avx512",       "avx512_bf16",
                              "avx512_vnni", "amx",  "amx_emulated", nullptr};

}  // namespace

const Kernels *find_kernels(const char *level, Precision precision) {
    for (const Entry &entry : ENTRIES)
        if (!std::strcmp(entry.level, level) && entry.precision == precision)
            return runs(entry.feature) ? entry.kernels() : nullptr;
    return nullptr;
}

const char *const *level_names() { return LEVELS; }

const char *tiles_missing() {
#if defined(__x86_64__)
    unsigned a, b, c, d;
    constexpr unsigned all = 1u << 22 | 1u << 24 | 1u << 25;  // AMX-BF16, -TILE, -INT8
    if (!runs(AVX512_BF16) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & all) != all)
        return "the processor has none";
    if (!amx_bfloat16()) return "not in this build: the assembler does not know them";
    if ((saved_state() >> 17 & 3) != 3) return "the system does not save them";
    if (!tiles_granted()) return "the system refuses them to this process";
    return "";
#else
    return "the processor has none";
#endif
}

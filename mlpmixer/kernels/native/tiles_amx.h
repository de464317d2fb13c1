// The tiles of a processor that has AMX. The assembler has to know the instructions, the compiler need not.
#pragma once

#include "tiles.h"

namespace {

struct AmxTiles {
    static constexpr int64_t slower = 1;

    static void begin() { asm volatile("ldtilecfg %0" : : "m"(WHOLE_TILES)); }
    static void end() { asm volatile("tilerelease"); }

    template <int TILE> static void zero() { asm volatile("tilezero %%tmm%c0" : : "i"(TILE)); }
    template <int TILE> static void load(const void *from, int64_t stride) {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2"
                     :
                     : "r"(from), "r"(stride), "i"(TILE)
                     : "memory");
    }
    // Past L1: what lies there stays.
    template <int TILE> static void load_past(const void *from, int64_t stride) {
        asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2"
                     :
                     : "r"(from), "r"(stride), "i"(TILE)
                     : "memory");
    }
    template <int TILE> static void store(void *to, int64_t stride) {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)"
                     :
                     : "r"(to), "r"(stride), "i"(TILE)
                     : "memory");
    }
    template <TileDot KIND, int SUM, int LEFT, int RIGHT> static void dot() {
        if constexpr (KIND == BFLOAT16_PAIRS)
            asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
                         :
                         : "i"(SUM), "i"(LEFT), "i"(RIGHT));
        else if constexpr (KIND == UNSIGNED_BY_SIGNED)
            asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0"
                         :
                         : "i"(SUM), "i"(LEFT), "i"(RIGHT));
        else
            asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0"
                         :
                         : "i"(SUM), "i"(LEFT), "i"(RIGHT));
    }
};

}  // namespace

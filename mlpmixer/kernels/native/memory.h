// Memory that begins on a page, in large pages where the system has them.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#endif

constexpr size_t LARGE_PAGE = size_t(2) << 20;

inline int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Memory, zeroed unless told otherwise; throws std::bad_alloc.
class Memory {
  public:
    Memory() = default;
    explicit Memory(size_t bytes, bool zeroed = true) {
        const size_t page = bytes >= LARGE_PAGE ? LARGE_PAGE : 4096;
        const size_t whole = size_t(round_up(int64_t(bytes ? bytes : 1), int64_t(page)));
        start = std::aligned_alloc(page, whole);
        if (!start) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
        if (page == LARGE_PAGE) madvise(start, whole, MADV_HUGEPAGE);
#endif
        if (zeroed) __builtin_memset(start, 0, whole);
    }
    Memory(Memory &&other) noexcept : start(std::exchange(other.start, nullptr)) {}
    Memory &operator=(Memory &&other) noexcept {
        std::swap(start, other.start);
        return *this;
    }
    ~Memory() { std::free(start); }

    char *bytes() const { return static_cast<char *>(start); }
    float *floats() const { return static_cast<float *>(start); }

  private:
    void *start = nullptr;
};

// Hands out parts of one block of memory: first their sizes are added up, then they are placed.
class Parts {
  public:
    explicit Parts(char *start = nullptr) : start(start) {}
    template <class T> void take(T *&part, int64_t count) {
        const int64_t bytes = round_up(count * int64_t(sizeof(T)), 64);
        if (start) {
            part = reinterpret_cast<T *>(start + used);
            ASAN_POISON_MEMORY_REGION(start + used + bytes, 64);
        }
        used += bytes + 64;  // apart: no two share a line
    }
    int64_t used = 0;

  private:
    char *start;
};

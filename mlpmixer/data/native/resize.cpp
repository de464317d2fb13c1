// Resizes parts of pictures; mlpmixer/data/resizing.py calls it.
//
// Bilinear interpolation whose filter widens where a picture shrinks, as Pillow's BILINEAR. Rows are
// mixed first, because that pass runs along whole rows and leaves as few of them as the result has.
// All in whole numbers, so that every processor finds the same bits: weights are 16384ths, and what
// lies between the two passes 64ths of a grey level.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_AVX2 1
#define AVX2 __attribute__((target("avx2")))
#endif
#define API extern "C" __attribute__((visibility("default")))

namespace {

constexpr int CHANNELS = 3;
constexpr int ONE = 1 << 14;  // as a weight
constexpr int TOGETHER = 4;   // samples that are written at a time
constexpr int BEHIND = 16;    // numbers behind a row that are read, with weights of 0

int round_up(int value, int unit) { return (value + unit - 1) / unit * unit; }

// Which pixels each sample is made of.
struct Filter {
    int taps;                      // even; those that a sample lacks have a weight of 0
    std::vector<int> first;        // (samples) its first pixel
    std::vector<int> count;        // (samples) how many it has
    std::vector<int16_t> weights;  // (samples, taps), each row summing to ONE

    Filter(int pixels, int samples, bool reversed) {
        const double step = static_cast<double>(pixels) / samples, reach = std::max(step, 1.0);
        const int rows = round_up(samples, TOGETHER);
        taps = round_up(2 * static_cast<int>(std::ceil(reach)) + 1, 2);
        first.assign(rows, 0);
        count.assign(rows, 0);
        weights.assign(static_cast<size_t>(rows) * taps, 0);
        for (int sample = 0; sample < samples; ++sample) {
            const int place = reversed ? samples - 1 - sample : sample;
            weigh((sample + 0.5) * step, reach, pixels, place);
        }
        narrow(round_up(*std::max_element(count.begin(), count.end()), 2));
    }

    const int16_t *row(int sample) const { return &weights[static_cast<size_t>(sample) * taps]; }

private:
    void weigh(double centre, double reach, int pixels, int place) {
        const int begin = std::max(static_cast<int>(centre - reach + 0.5), 0);
        const int end = std::min(static_cast<int>(centre + reach + 0.5), pixels);
        const auto share = [&](int pixel) {
            return std::max(1 - std::abs(pixel + 0.5 - centre) / reach, 0.0);
        };
        double total = 0;
        for (int pixel = begin; pixel < end; ++pixel) total += share(pixel);
        int16_t *row = &weights[static_cast<size_t>(place) * taps];
        int left = ONE, largest = 0;
        for (int pixel = begin; pixel < end; ++pixel) {
            const int tap = pixel - begin;
            row[tap] = static_cast<int16_t>(ONE * share(pixel) / total + 0.5);
            left -= row[tap];
            if (row[tap] > row[largest]) largest = tap;
        }
        row[largest] = static_cast<int16_t>(row[largest] + left);
        first[place] = begin;
        count[place] = end - begin;
    }

    void narrow(int most) {
        for (size_t sample = 1; sample < first.size(); ++sample)
            std::copy_n(&weights[sample * taps], most, &weights[sample * most]);
        taps = most;
    }
};

struct Part {
    const uint8_t *pixels;
    int64_t row;  // bytes between rows
    int width, height;
};

// Of products, which are 64ths, the fraction is cut off: half of it is given back to their sum.
void mix_rows(const uint8_t *rows, int64_t row, const int16_t *weights, int count, int begin,
              int end, int16_t *sums) {
    for (int i = begin; i < end; ++i) {
        int sum = count / 2;
        for (int tap = 0; tap < count; ++tap) sum += (rows[tap * row + i] * weights[tap]) >> 8;
        sums[i] = static_cast<int16_t>(sum);
    }
}

struct Portable {
    explicit Portable(const Filter &filter) : columns(filter) {}

    // Writes the weighted sum of `count` rows, (width, 3).
    void rows(const Part &part, int first, const int16_t *weights, int count,
              int16_t *sums) const {
        const int numbers = CHANNELS * part.width;
        mix_rows(part.pixels + first * part.row, part.row, weights, count, 0, numbers, sums);
    }

    // Writes the samples of one row as planes `length` apart.
    void samples(const int16_t *sums, uint8_t *planes, int length) const {
        for (int sample = 0; sample < length; ++sample) {
            const int16_t *weights = columns.row(sample);
            for (int channel = 0; channel < CHANNELS; ++channel) {
                const int16_t *pixels = sums + CHANNELS * columns.first[sample] + channel;
                int sum = 1 << 19;
                for (int tap = 0; tap < columns.taps; ++tap)
                    sum += weights[tap] * pixels[CHANNELS * tap];
                planes[channel * length + sample] =
                    static_cast<uint8_t>(std::clamp(sum >> 20, 0, 255));
            }
        }
    }

    const Filter &columns;
};

#ifdef HAS_AVX2
struct Avx2 {
    explicit Avx2(const Filter &filter) : columns(filter) {
        // Of two samples beside each other, four times the weights of a pair of pixels.
        for (size_t sample = 0; sample < filter.first.size(); sample += 2)
            for (int tap = 0; tap < filter.taps; tap += 2)
                for (size_t which = sample; which < sample + 2; ++which)
                    for (int copy = 0; copy < 4; ++copy)
                        for (int of = 0; of < 2; ++of)
                            pairs.push_back(filter.row(static_cast<int>(which))[tap + of]);
    }

    AVX2 void rows(const Part &part, int first, const int16_t *weights, int count,
                   int16_t *sums) const {
        const int numbers = CHANNELS * part.width, most = numbers / 32 * 32;
        const uint8_t *rows = part.pixels + first * part.row;
        const __m256i zero = _mm256_setzero_si256();
        for (int i = 0; i < most; i += 32) {
            __m256i low = _mm256_set1_epi16(static_cast<int16_t>(count / 2)), high = low;
            for (int tap = 0; tap < count; ++tap) {
                const uint8_t *from = rows + tap * part.row + i;
                const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from));
                const __m256i weight = _mm256_set1_epi16(weights[tap]);
                const __m256i lows = _mm256_unpacklo_epi8(zero, bytes);  // pixels times 256
                const __m256i highs = _mm256_unpackhi_epi8(zero, bytes);
                low = _mm256_add_epi16(low, _mm256_mulhi_epu16(lows, weight));
                high = _mm256_add_epi16(high, _mm256_mulhi_epu16(highs, weight));
            }
            __m256i *to = reinterpret_cast<__m256i *>(sums + i);
            _mm256_storeu_si256(to, _mm256_permute2x128_si256(low, high, 0x20));
            _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(low, high, 0x31));
        }
        mix_rows(rows, part.row, weights, count, most, numbers, sums);
    }

    AVX2 void samples(const int16_t *sums, uint8_t *planes, int length) const {
        switch (columns.taps) {
            case 2: return samples_of<2>(sums, planes, length);
            case 4: return samples_of<4>(sums, planes, length);
            default: return samples_of<0>(sums, planes, length);
        }
    }

    const Filter &columns;
    std::vector<int16_t> pairs;  // (samples / 2, taps / 2, 2, 4, 2)

private:
    // TAPS is how many there are, known beforehand, or 0.
    template <int TAPS>
    AVX2 void samples_of(const int16_t *sums, uint8_t *planes, int length) const {
        const int taps = TAPS ? TAPS : columns.taps;
        // Each channel of a pixel beside that of the next, and each channel of four samples.
        const __m256i neighbours = _mm256_broadcastsi128_si256(
            _mm_setr_epi8(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, -1, -1, -1, -1));
        const __m256i by_channel =
            _mm256_setr_epi8(0, -1, 4, -1, 1, -1, 5, -1, 2, -1, 6, -1, -1, -1, -1, -1,  //
                             -1, 0, -1, 4, -1, 1, -1, 5, -1, 2, -1, 6, -1, -1, -1, -1);
        const int16_t *weights = pairs.data();
        for (int sample = 0; sample < length; sample += TOGETHER) {
            __m256i totals[2];
            for (int half = 0; half < 2; ++half) {
                const int16_t *one = sums + CHANNELS * columns.first[sample + 2 * half];
                const int16_t *other = sums + CHANNELS * columns.first[sample + 2 * half + 1];
                __m256i total = _mm256_set1_epi32(1 << 19);
                for (int tap = 0; tap < taps; tap += 2) {
                    __m256i pixels = _mm256_castsi128_si256(
                        _mm_loadu_si128(reinterpret_cast<const __m128i *>(one + CHANNELS * tap)));
                    pixels = _mm256_inserti128_si256(
                        pixels,
                        _mm_loadu_si128(reinterpret_cast<const __m128i *>(other + CHANNELS * tap)),
                        1);
                    pixels = _mm256_shuffle_epi8(pixels, neighbours);
                    const __m256i pair =
                        _mm256_loadu_si256(reinterpret_cast<const __m256i *>(weights));
                    total = _mm256_add_epi32(total, _mm256_madd_epi16(pixels, pair));
                    weights += 16;
                }
                totals[half] = _mm256_srai_epi32(total, 20);
            }
            __m256i packed = _mm256_packs_epi32(totals[0], totals[1]);
            packed = _mm256_shuffle_epi8(_mm256_packus_epi16(packed, packed), by_channel);
            const __m128i channels = _mm_or_si128(_mm256_castsi256_si128(packed),
                                                  _mm256_extracti128_si256(packed, 1));
            const int of_channel[] = {_mm_extract_epi32(channels, 0),
                                      _mm_extract_epi32(channels, 1),
                                      _mm_extract_epi32(channels, 2)};
            for (int channel = 0; channel < CHANNELS; ++channel)
                std::memcpy(planes + channel * length + sample, &of_channel[channel], TOGETHER);
        }
    }
};
#endif

template <class Level>
void resize(const Part &part, int width, int height, bool flip, uint8_t *result) {
    const Filter columns(part.width, width, flip), rows(part.height, height, false);
    const Level level(columns);
    std::vector<int16_t> sums(CHANNELS * (part.width + columns.taps) + BEHIND, 0);
    const int length = round_up(width, TOGETHER);
    std::vector<uint8_t> planes(CHANNELS * static_cast<size_t>(length));
    for (int y = 0; y < height; ++y) {
        level.rows(part, rows.first[y], rows.row(y), rows.count[y], sums.data());
        level.samples(sums.data(), planes.data(), length);
        for (int channel = 0; channel < CHANNELS; ++channel) {
            uint8_t *line = result + (static_cast<int64_t>(channel) * height + y) * width;
            std::memcpy(line, &planes[static_cast<size_t>(channel) * length], width);
        }
    }
}

}  // namespace

// Of the sources that this library was built from.
API const char *mlpmixer_resize_digest() { return SOURCE_DIGEST; }

// Resizes RGB pixels (rows, columns, 3), `row` bytes between rows, to planes (3, height, width),
// mirrored if asked; `portable` does it without the processor's vectors. Returns 0, and 1 where
// memory is short.
API int mlpmixer_resize(const uint8_t *pixels, int64_t row, int columns, int rows, int width,
                        int height, int flip, int portable, uint8_t *result) {
    const Part part{pixels, row, columns, rows};
    try {
#ifdef HAS_AVX2
        if (!portable && __builtin_cpu_supports("avx2")) {
            resize<Avx2>(part, width, height, flip != 0, result);
            return 0;
        }
#endif
        resize<Portable>(part, width, height, flip != 0, result);
    } catch (const std::bad_alloc &) {
        return 1;
    }
    return 0;
}

// Decodes a part of a JPEG with libjpeg-turbo; mlpmixer/data/jpeg.py calls it.
//
// Rows above the part are passed over, columns beside it are not computed, and what lies below is
// not even read. https://github.com/libjpeg-turbo/libjpeg-turbo/blob/main/doc/libjpeg.txt,
// "Partial image decompression".
#include <algorithm>
#include <csetjmp>
#include <cstddef>
#include <cstdio>

#include <jpeglib.h>

#ifndef LIBJPEG_TURBO_VERSION
#error "another libjpeg, which cannot decode a part of a picture"
#endif

#define API extern "C" __attribute__((visibility("default")))

namespace {

struct Errors {
    jpeg_error_mgr library;
    std::jmp_buf leave;
};

[[noreturn]] void leave(j_common_ptr info) {
    std::longjmp(reinterpret_cast<Errors *>(info->err)->leave, 1);
}

// A warning is the first sign of damage, which another decoder is to explain.
void leave_on_warning(j_common_ptr info, int level) {
    if (level < 0) leave(info);
}

// The interpolation of colours looks one pixel to each side; without it the border would differ
// from that of the whole picture.
constexpr int BORDER = 2;

// Chooses the scale in which the picture has this size; false where there is none.
bool scale_to(jpeg_decompress_struct &info, int width, int height) {
    info.scale_num = 1;
    for (unsigned denominator = 1; denominator <= 8; denominator *= 2) {
        info.scale_denom = denominator;
        jpeg_calc_output_dimensions(&info);
        if (static_cast<int>(info.output_width) == width &&
            static_cast<int>(info.output_height) == height)
            return true;
    }
    return false;
}

// Whether libjpeg-turbo 2.1.5 computes wrong pixels beside a cropped column: of reduced pictures
// that have more than four values of brightness for one of colour, as 4:1:0.
bool crops_wrongly(const jpeg_decompress_struct &info) {
    return info.scale_denom > 1 && info.max_h_samp_factor * info.max_v_samp_factor > 4;
}

// What stands before a picture's coded values: segments of a marker and their length.
enum Marker : unsigned char { START = 0xd8, EXIF_OR_XMP = 0xe1, SCAN = 0xda };

// Baseline, extended and progressive frames of Huffman codes.
bool begins_frame(unsigned char marker) { return marker >= 0xc0 && marker <= 0xc2; }

}  // namespace

// Of the sources that this library was built from.
API const char *mlpmixer_jpeg_digest() { return SOURCE_DIGEST; }

// Finds the width and height of a picture that is grey or in colours of 8 bits and surely upright,
// because there is no segment that could say otherwise. Returns 0, and 1 for any other.
API int mlpmixer_jpeg_size(const unsigned char *content, unsigned long bytes, int *found) {
    bool framed = false;
    unsigned long at = 2;
    if (bytes < 4 || content[0] != 0xff || content[1] != START) return 1;
    while (at + 4 <= bytes) {
        const unsigned char marker = content[at + 1], *body = content + at + 4;
        const unsigned long length = content[at + 2] * 256ul + content[at + 3];
        if (content[at] != 0xff || length < 2 || at + 2 + length > bytes) return 1;
        if (marker == SCAN) return framed ? 0 : 1;
        if (marker == EXIF_OR_XMP) return 1;
        if (begins_frame(marker)) {
            if (framed || length < 8 || body[0] != 8 || (body[5] != 1 && body[5] != 3)) return 1;
            framed = true;
            found[1] = body[1] * 256 + body[2];
            found[0] = body[3] * 256 + body[4];
        }
        at += 2 + length;
    }
    return 1;
}

// Writes rows of RGB that hold the part `box` (left, top, right, bottom; pixels) of a picture that
// is decoded to `width` by `height`. `found` becomes the column at which the rows begin and how
// many pixels each has; they begin at `top` and end before `bottom`. Returns 0, and 1 where
// something is not quite right with the file or `capacity` bytes are too few.
API int mlpmixer_jpeg_region(const unsigned char *content, unsigned long bytes, int width,
                             int height, const int *box, unsigned char *pixels, long capacity,
                             int *found) {
    jpeg_decompress_struct info;
    Errors errors;
    info.err = jpeg_std_error(&errors.library);
    errors.library.error_exit = leave;
    errors.library.emit_message = leave_on_warning;
    if (setjmp(errors.leave)) {
        jpeg_destroy_decompress(&info);
        return 1;
    }
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, const_cast<unsigned char *>(content), bytes);
    jpeg_read_header(&info, TRUE);
    info.out_color_space = JCS_RGB;
    if (!scale_to(info, width, height) || crops_wrongly(info))
        leave(reinterpret_cast<j_common_ptr>(&info));
    jpeg_start_decompress(&info);
    JDIMENSION column = std::max(box[0] - BORDER, 0);
    JDIMENSION columns = std::min(box[2] + BORDER, width) - column;
    jpeg_crop_scanline(&info, &column, &columns);
    const std::ptrdiff_t row = 3 * static_cast<std::ptrdiff_t>(columns);
    if (row * (box[3] - box[1]) > capacity) leave(reinterpret_cast<j_common_ptr>(&info));
    if (box[1] > 0) jpeg_skip_scanlines(&info, box[1]);
    while (static_cast<int>(info.output_scanline) < box[3]) {
        const int done = static_cast<int>(info.output_scanline) - box[1];
        const int wanted = std::min(box[3] - box[1] - done, 4);
        JSAMPROW rows[4];
        for (int i = 0; i < wanted; ++i) rows[i] = pixels + row * (done + i);
        jpeg_read_scanlines(&info, rows, wanted);
    }
    found[0] = static_cast<int>(column);
    found[1] = static_cast<int>(columns);
    jpeg_destroy_decompress(&info);
    return 0;
}

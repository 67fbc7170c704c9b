// Windows over images whose channels come last.
//
// An image is copied to a plane of floats with a border. There the numbers that one tap of the window reads for all
// channels of a row of results lie next to each other, at any stride: the columns of each phase of the stride are
// kept apart. So a vector holds neighbouring numbers of a row, whatever pixels and channels they belong to.
#pragma once

#include "numbers.h"

struct Windows {
    long images, channels, height, width, kernel, stride;

    long pad() const { return kernel / 2; }
    long out_height() const { return (height + stride - 1) / stride; }
    long out_width() const { return (width + stride - 1) / stride; }
    long out_row() const { return out_width() * channels; }           // numbers of a row of results
    long image() const { return height * width * channels; }          // numbers of an image
    long out_image() const { return out_height() * out_row(); }       // and of its result
    Windows dense() const { return {images, channels, height, width, kernel, 1}; }

    // Of a plane:
    long phase() const { return ((width + 2 * pad() + stride - 1) / stride + 1) * channels; }
    long row() const { return stride * phase(); }
    long lines() const { return std::max(height + 2 * pad(), (out_height() + steps() - 1) * stride); }
    long plane() const { return lines() * row() + LANES; }
    // Results that share a line: so many at most.
    long steps() const { return (kernel + stride - 1) / stride; }
    // Where the pixel is that is `column` and `line` after the border's first.
    long place(long line, long column) const {
        return line * row() + column % stride * phase() + column / stride * channels;
    }
};

template <class T> static void widen(const T *__restrict from, float *__restrict to, long count, bool relu) {
    if (relu)
        for (long i = 0; i < count; i++) to[i] = positive(number(from[i]));
    else
        for (long i = 0; i < count; i++) to[i] = number(from[i]);
}

template <class T> static void narrow(const float *__restrict from, T *__restrict to, long count) {
    for (long i = 0; i < count; i++) store(to + i, from[i]);
}

// Copies an image to a plane, whose border is left alone.
template <class T> static void fill(const Windows &w, const T *image, float *plane, bool relu) {
    Floats line(w.width * w.channels);
    for (long y = 0; y < w.height; y++) {
        const T *from = image + y * w.width * w.channels;
        if (w.stride == 1) {
            widen(from, plane + w.place(y + w.pad(), w.pad()), w.width * w.channels, relu);
            continue;
        }
        widen(from, line.data(), w.width * w.channels, relu);
        for (long x = 0; x < w.width; x++)
            std::copy_n(&line[x * w.channels], w.channels, plane + w.place(y + w.pad(), x + w.pad()));
    }
}

// Copies a plane without its border to an image.
template <class T> static void gather(const Windows &w, const float *plane, T *image) {
    Floats line(w.width * w.channels);
    for (long y = 0; y < w.height; y++) {
        const float *from = plane + w.place(y + w.pad(), w.pad());
        if (w.stride > 1) {
            for (long x = 0; x < w.width; x++)
                std::copy_n(plane + w.place(y + w.pad(), x + w.pad()), w.channels, &line[x * w.channels]);
            from = line.data();
        }
        narrow(from, image + y * w.width * w.channels, w.width * w.channels);
    }
}

// Copies gradients of results to the pixels in the middle of their windows, on a plane for stride 1.
template <class T> static void spread(const Windows &w, const T *grad, float *plane) {
    const Windows dense = w.dense();
    Floats line(w.out_row());
    for (long y = 0; y < w.out_height(); y++) {
        float *to = plane + dense.place(y * w.stride + w.pad(), w.pad());
        const T *from = grad + y * w.out_row();
        if (w.stride == 1) {
            widen(from, to, w.out_row(), false);
            continue;
        }
        widen(from, line.data(), w.out_row(), false);
        for (long x = 0; x < w.out_width(); x++)
            std::copy_n(&line[x * w.channels], w.channels, to + x * w.stride * w.channels);
    }
}

// Numbers after which the channels of a row repeat and a vector begins.
static inline long period(long channels) {
    long result = channels;
    while (result % LANES) result += channels;
    return result;
}

// Sums over windows of a plane, weighted by weights [K * K, period], each changed by `finish(sum, line, first number
// of the row, count)` before it is stored. Every line of the plane is read once: it adds to the sums of all results
// that it belongs to, of which the oldest is then complete.
template <int K, int STRIDE, class T, class Finish>
static inline void weighted_sums(const Windows &w, const float *plane, const float *weights, T *result,
                                 const Finish &finish) {
    constexpr int STEPS = (K + STRIDE - 1) / STRIDE;
    const long row = w.out_row(), repeat = period(w.channels), height = w.out_height(), line_length = w.row();
    long taps[K];
    for (int i = 0; i < K; i++) taps[i] = w.place(0, i);
    for (long j = 0; j < row; j += LANES) {
        const long count = std::min<long>(LANES, row - j);
        Vector weight[K * K], sums[STEPS] = {};
        unrolled<K * K>([&](auto i) INLINED { weight[i] = load(weights + i * repeat + j % repeat); });
        for (long step = 0; step < height + STEPS - 1; step++) {
            const float *first = plane + step * STRIDE * line_length + j;
            unrolled<STRIDE>([&](auto phase) INLINED {
                unrolled<K>([&](auto i) INLINED {
                    const Vector value = load(first + phase * line_length + taps[i]);
                    unrolled<STEPS>([&](auto age) INLINED {
                        constexpr int line = age * STRIDE + phase;
                        if constexpr (line < K) sums[age] += weight[line * K + i] * value;
                    });
                });
            });
            const long y = step - (STEPS - 1);
            if (y >= 0) store(result + y * row + j, finish(sums[STEPS - 1], y, j, count), count);
            unrolled<STEPS - 1>([&](auto i) INLINED { sums[STEPS - 1 - i] = sums[STEPS - 2 - i]; });
            sums[0] = Vector{};
        }
    }
}

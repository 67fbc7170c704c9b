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

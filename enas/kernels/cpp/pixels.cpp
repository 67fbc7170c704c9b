// Every k-th pixel of every k-th line of images whose channels come last, from a first one on.

#include "numbers.h"

namespace {

struct Grid {
    long images, channels, height, width, stride;

    long lines(long first) const { return (height - first + stride - 1) / stride; }
    long columns(long first) const { return (width - first + stride - 1) / stride; }
};

template <class T> void pixels(const Grid &g, const T *x, T *y, long first, int threads) {
    const long lines = g.lines(first), columns = g.columns(first);
    PARALLEL_FOR(threads)
    for (long i = 0; i < g.images * lines; i++) {
        const T *from = x + ((i / lines * g.height + first + i % lines * g.stride) * g.width + first) * g.channels;
        T *to = y + i * columns * g.channels;
        for (long j = 0; j < columns; j++) std::copy_n(from + j * g.stride * g.channels, g.channels, to + j * g.channels);
    }
}

// Zeros, and the gradients of the pixels from the first one on, and of those from the second on; either may be null.
template <class T> void pixels_backward(const Grid &g, const T *const *grads, T *grad_x, int threads) {
    const long row = g.width * g.channels;
    PARALLEL_FOR(threads)
    for (long i = 0; i < g.images * g.height; i++) {
        T *to = grad_x + i * row;
        std::fill(to, to + row, T(0));
        const long image = i / g.height, line = i % g.height, first = line % g.stride;
        if (first > 1 || !grads[first]) continue;
        const long columns = g.columns(first);
        const T *from = grads[first] + (image * g.lines(first) + line / g.stride) * columns * g.channels;
        for (long j = 0; j < columns; j++)
            std::copy_n(from + j * g.channels, g.channels, to + (first + j * g.stride) * g.channels);
    }
}

}  // namespace

#define PIXELS(T)                                                                                                     \
    EXPORT void pixels_##T(const T *x, T *y, int64_t images, int64_t channels, int64_t height, int64_t width,         \
                           int64_t stride, int64_t first, int threads) {                                              \
        pixels(Grid{images, channels, height, width, stride}, x, y, first, threads);                                  \
    }                                                                                                                 \
    EXPORT void pixels_backward_##T(T *grad_x, const T *from_first, const T *from_second, int64_t images,             \
                                    int64_t channels, int64_t height, int64_t width, int64_t stride, int threads) {   \
        const T *grads[] = {from_first, from_second};                                                                 \
        pixels_backward(Grid{images, channels, height, width, stride}, grads, grad_x, threads);                       \
    }

PIXELS(float)
PIXELS(bfloat16)

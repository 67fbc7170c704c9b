// 3x3 average and maximum, padded to keep the size at stride 1, of images whose channels come last. Padding never
// counts.

#include "planes.h"

#include <limits>

namespace {

constexpr int KERNEL = 3;

// 1 / the number of pixels of each window along one dimension.
Floats shares(long size, long stride) {
    Floats result;
    for (long i = 0; i < size; i += stride)
        result.push_back(1.0f / (std::min(size, i + 2) - std::max(0L, i - 1)));
    return result;
}

// Those of the columns, for each number of a row of results.
Floats column_shares(const Windows &w) {
    const Floats shares_of = shares(w.width, w.stride);
    Floats result(w.out_row() + LANES);
    for (long j = 0; j < w.out_row(); j++) result[j] = shares_of[j / w.channels];
    return result;
}

struct Sum {
    static constexpr float border = 0;
    static Vector of(Vector a, Vector b) { return a + b; }
};
struct Maximum {
    static constexpr float border = -std::numeric_limits<float>::infinity();
    static Vector of(Vector a, Vector b) { return b > a ? b : a; }
};
struct MaximumOrNan {  // a NaN is larger than all
    static Vector of(Vector a, Vector b) { return (b > a) | (b != b) ? b : a; }
};

// What becomes of three columns.
template <class Kind> INLINED inline Vector columns(const float *line, const long *taps) {
    return Kind::of(Kind::of(load(line + taps[0]), load(line + taps[1])), load(line + taps[2]));
}

// The same for the lines of one result, given those of the result before it: what they share is not computed again.
template <class Kind, int STRIDE>
INLINED inline void next_lines(Vector *lines, const float *first, long row, const long *taps) {
    unrolled<KERNEL - STRIDE>([&](auto i) INLINED { lines[i] = lines[i + STRIDE]; });
    unrolled<STRIDE>([&](auto i) INLINED {
        constexpr int line = KERNEL - STRIDE + i;
        lines[line] = columns<Kind>(first + line * row, taps);
    });
}

// And of the lines above the first result's, whose lines come next.
template <class Kind, int STRIDE>
INLINED inline void first_lines(Vector *lines, const float *plane, long row, const long *taps) {
    unrolled<KERNEL>([&](auto i) INLINED {
        lines[i] = i < STRIDE ? Vector{} : columns<Kind>(plane + (i - STRIDE) * row, taps);
    });
}

// Pools one image; `finish(value, line, first number of the row)` changes each result before it is stored.
template <class Kind, int STRIDE, class T, class Finish>
void pool(const Windows &w, const float *plane, T *result, const Finish &finish) {
    const long taps[KERNEL] = {0, w.place(0, 1), w.place(0, 2)};
    const long row = w.out_row(), height = w.out_height(), line_length = w.row();
    for (long j = 0; j < row; j += LANES) {
        Vector lines[KERNEL];
        first_lines<Kind, STRIDE>(lines, plane + j, line_length, taps);
        for (long y = 0; y < height; y++) {
            next_lines<Kind, STRIDE>(lines, plane + y * STRIDE * line_length + j, line_length, taps);
            const Vector value = finish(Kind::of(Kind::of(lines[0], lines[1]), lines[2]), y, j);
            store(result + y * row + j, value, std::min<long>(LANES, row - j));
        }
    }
}

template <int STRIDE, class T> void average(const Windows &w, const T *x, T *y, int threads) {
    const Floats lines = shares(w.height, w.stride), columns = column_shares(w);
    PARALLEL_FOR(threads)
    for (long part = 0; part < threads; part++) {
        Floats plane(w.plane());
        for (long n = w.images * part / threads; n < w.images * (part + 1) / threads; n++) {
            fill(w, x + n * w.image(), plane.data(), false);
            pool<Sum, STRIDE>(
                w, plane.data(), y + n * w.out_image(),
                [&](Vector sum, long line, long first) INLINED { return sum * (load(&columns[first]) * lines[line]); });
        }
    }
}

template <class T>
void scale(const T *__restrict from, const float *__restrict by, float all, float *__restrict to, long count) {
    for (long j = 0; j < count; j++) to[j] = number(from[j]) * (by[j] * all);
}

template <class T> void average_backward(const Windows &w, const T *grad, T *grad_x, int threads) {
    const Floats lines = shares(w.height, w.stride), columns = column_shares(w);
    const Windows dense = w.dense();
    PARALLEL_FOR(threads)
    for (long part = 0; part < threads; part++) {
        Floats plane(dense.plane()), scaled(w.out_image());
        for (long n = w.images * part / threads; n < w.images * (part + 1) / threads; n++) {
            const T *from = grad + n * w.out_image();
            for (long y = 0; y < w.out_height(); y++)
                scale(from + y * w.out_row(), columns.data(), lines[y], &scaled[y * w.out_row()], w.out_row());
            spread(w, scaled.data(), plane.data());
            pool<Sum, 1>(dense, plane.data(), grad_x + n * w.image(),
                         [](Vector sum, long, long) INLINED { return sum; });
        }
    }
}

bool has_nan(const Floats &numbers) {
    int found = 0;
    for (const float value : numbers) found |= value != value;
    return found;
}

template <int STRIDE, class T> void maximum(const Windows &w, const T *x, T *y, int threads) {
    PARALLEL_FOR(threads)
    for (long part = 0; part < threads; part++) {
        Floats plane(w.plane(), Maximum::border);
        for (long n = w.images * part / threads; n < w.images * (part + 1) / threads; n++) {
            fill(w, x + n * w.image(), plane.data(), false);
            const auto finish = [](Vector most, long, long) INLINED { return most; };
            if (has_nan(plane))
                pool<MaximumOrNan, STRIDE>(w, plane.data(), y + n * w.out_image(), finish);
            else
                pool<Maximum, STRIDE>(w, plane.data(), y + n * w.out_image(), finish);
        }
    }
}

// What part of a gradient goes to a value: all of it, which is then gone, if the value is the maximum. A NaN takes
// nothing.
INLINED inline Vector take(Vector &gradient, Vector value, Vector most) {
    const Mask taken = value == most;
    const Vector result = taken ? gradient : Vector{};
    gradient = taken ? Vector{} : gradient;
    return result;
}

// The first pixel of a window, row by row, that is the largest takes the gradient: first lines take their shares,
// then, when a line has them all, its columns.
template <int STRIDE, class T>
void maxima_backward(const Windows &w, const T *grad, const float *plane, float *gradients) {
    const long taps[KERNEL] = {0, w.place(0, 1), w.place(0, 2)};
    const long row = w.out_row(), height = w.out_height(), line_length = w.row();
    for (long j = 0; j < row; j += LANES) {
        Vector lines[KERNEL], shares[KERNEL] = {};
        const auto to_columns = [&](long y, auto i) INLINED {
            const long place = (y * STRIDE + i) * line_length + j;
            unrolled<KERNEL>([&](auto column) INLINED {
                float *sum = gradients + place + taps[column];
                store(sum, load(sum) + take(shares[i], load(plane + place + taps[column]), lines[i]));
            });
        };
        first_lines<Maximum, STRIDE>(lines, plane + j, line_length, taps);
        for (long y = 0; y < height; y++) {
            next_lines<Maximum, STRIDE>(lines, plane + y * STRIDE * line_length + j, line_length, taps);
            unrolled<KERNEL>([&](auto i) INLINED {
                if constexpr (i + STRIDE < KERNEL) shares[i] = shares[i + STRIDE];
                else shares[i] = Vector{};
            });
            const Vector most = Maximum::of(Maximum::of(lines[0], lines[1]), lines[2]);
            Vector rest = load(grad + y * row + j, std::min<long>(LANES, row - j));
            unrolled<KERNEL>([&](auto i) INLINED { shares[i] += take(rest, lines[i], most); });
            unrolled<STRIDE>([&](auto i) INLINED { to_columns(y, i); });
        }
        unrolled<KERNEL>([&](auto i) INLINED {
            if constexpr (i >= STRIDE) to_columns(height - 1, i);
        });
    }
}

template <int STRIDE, class T>
void maximum_backward(const Windows &w, const T *grad, const T *x, T *grad_x, int threads) {
    PARALLEL_FOR(threads)
    for (long part = 0; part < threads; part++) {
        Floats plane(w.plane(), Maximum::border), gradients(w.plane());
        for (long n = w.images * part / threads; n < w.images * (part + 1) / threads; n++) {
            fill(w, x + n * w.image(), plane.data(), false);
            std::fill(gradients.begin(), gradients.end(), 0.0f);
            maxima_backward<STRIDE>(w, grad + n * w.out_image(), plane.data(), gradients.data());
            gather(w, gradients.data(), grad_x + n * w.image());
        }
    }
}

}  // namespace

// Of one number format, at stride 1 or 2.
#define POOLING(T)                                                                                                    \
    EXPORT void average_pool_##T(const T *x, T *y, int64_t images, int64_t channels, int64_t height, int64_t width,   \
                                 int64_t stride, int threads) {                                                       \
        const Windows w{images, channels, height, width, KERNEL, stride};                                             \
        (stride == 1 ? average<1, T> : average<2, T>)(w, x, y, threads);                                              \
    }                                                                                                                 \
    EXPORT void average_pool_backward_##T(const T *grad, T *grad_x, int64_t images, int64_t channels, int64_t height, \
                                          int64_t width, int64_t stride, int threads) {                               \
        average_backward(Windows{images, channels, height, width, KERNEL, stride}, grad, grad_x, threads);            \
    }                                                                                                                 \
    EXPORT void maximum_pool_##T(const T *x, T *y, int64_t images, int64_t channels, int64_t height, int64_t width,   \
                                 int64_t stride, int threads) {                                                       \
        const Windows w{images, channels, height, width, KERNEL, stride};                                             \
        (stride == 1 ? maximum<1, T> : maximum<2, T>)(w, x, y, threads);                                              \
    }                                                                                                                 \
    EXPORT void maximum_pool_backward_##T(const T *grad, const T *x, T *grad_x, int64_t images, int64_t channels,     \
                                          int64_t height, int64_t width, int64_t stride, int threads) {               \
        const Windows w{images, channels, height, width, KERNEL, stride};                                             \
        (stride == 1 ? maximum_backward<1, T> : maximum_backward<2, T>)(w, grad, x, grad_x, threads);                 \
    }

POOLING(float)
POOLING(bfloat16)

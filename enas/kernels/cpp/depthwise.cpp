// Depthwise convolution, padded to keep the size at stride 1, of images whose channels come last, after a ReLU; and
// the gradients with and without the ReLU, at stride 1 and 2.

#include "planes.h"

namespace {

constexpr long GROUPS = 16;  // of images whose gradients are summed apart: the same for any number of threads

// Numbers after which the channels of a row repeat and a vector begins.
long period(long channels) {
    long result = channels;
    while (result % LANES) result += channels;
    return result;
}

// Weights [C, K * K] as rows for all numbers of a period [K * K, period]; turned round for the input's gradient.
template <int K> Floats spread_weights(const float *weight, long channels, bool turned) {
    const long repeat = period(channels);
    Floats result(K * K * repeat);
    for (int i = 0; i < K * K; i++)
        for (long j = 0; j < repeat; j++)
            result[i * repeat + j] = weight[j % channels * K * K + (turned ? K * K - 1 - i : i)];
    return result;
}

// Sums over windows of a plane for stride 1, weighted by weights [K * K, period], each changed by `finish(sum, line,
// first number of the row, count)` before it is stored. Every line of the plane is read once: it adds to the sums of
// all K results that it belongs to, of which the oldest is then complete.
template <int K, class T, class Finish>
void weighted_sums(const Windows &w, const float *plane, const float *weights, T *result, const Finish &finish) {
    const long row = w.out_row(), repeat = period(w.channels), lines = w.out_height() + K - 1, line_length = w.row();
    long taps[K];
    for (int i = 0; i < K; i++) taps[i] = w.place(0, i);
    for (long j = 0; j < row; j += LANES) {
        const long count = std::min<long>(LANES, row - j);
        Vector weight[K * K], sums[K] = {};
        unrolled<K * K>([&](auto i) INLINED { weight[i] = load(weights + i * repeat + j % repeat); });
        for (long line = 0; line < lines; line++) {
            const float *first = plane + line * line_length + j;
            unrolled<K>([&](auto i) INLINED {
                const Vector value = load(first + taps[i]);
                unrolled<K>([&](auto age) INLINED { sums[age] += weight[age * K + i] * value; });
            });
            const long y = line - (K - 1);
            if (y >= 0) store(result + y * row + j, finish(sums[K - 1], y, j, count), count);
            unrolled<K - 1>([&](auto i) INLINED { sums[K - 1 - i] = sums[K - 2 - i]; });
            sums[0] = Vector{};
        }
    }
}

template <int K, class T> void forward(const Windows &w, const T *x, const float *weight, T *y, int threads) {
    const Floats weights = spread_weights<K>(weight, w.channels, false);
    PARALLEL_FOR(threads)
    for (long part = 0; part < threads; part++) {
        Floats plane(w.plane());
        for (long n = w.images * part / threads; n < w.images * (part + 1) / threads; n++) {
            fill(w, x + n * w.image(), plane.data(), true);
            weighted_sums<K>(w, plane.data(), weights.data(), y + n * w.out_image(),
                             [](Vector sum, long, long, long) INLINED { return sum; });
        }
    }
}

template <int K, class T>
void input_gradient(const Windows &w, const T *grad, const T *x, const float *weight, T *grad_x, bool relu,
                    int threads) {
    const Floats weights = spread_weights<K>(weight, w.channels, true);
    const Windows dense = w.dense();
    PARALLEL_FOR(threads)
    for (long part = 0; part < threads; part++) {
        Floats plane(dense.plane());
        for (long n = w.images * part / threads; n < w.images * (part + 1) / threads; n++) {
            spread(w, grad + n * w.out_image(), plane.data());
            const T *image = x + n * w.image();
            T *result = grad_x + n * w.image();
            const long row = dense.out_row();
            if (relu)
                weighted_sums<K>(dense, plane.data(), weights.data(), result,
                                 [&](Vector sum, long line, long first, long count) {
                                     const Vector value = load(image + line * row + first, count);
                                     return value <= 0 ? Vector{} : sum;
                                 });
            else
                weighted_sums<K>(dense, plane.data(), weights.data(), result,
                                 [](Vector sum, long, long, long) { return sum; });
        }
    }
}

// Adds an image's share to the weights' gradient [K * K, period]. Every line of the plane is read once.
template <int K, int STRIDE, class T>
void add_products(const Windows &w, const T *grad, const float *plane, float *sums) {
    constexpr int STEPS = (K + STRIDE - 1) / STRIDE;
    const long row = w.out_row(), repeat = period(w.channels), height = w.out_height(), line_length = w.row();
    long taps[K];
    for (int i = 0; i < K; i++) taps[i] = w.place(0, i);
    for (long j = 0; j < row; j += LANES) {
        const long count = std::min<long>(LANES, row - j);
        Vector products[K * K] = {}, gradients[STEPS] = {};
        for (long step = 0; step < height + STEPS - 1; step++) {
            unrolled<STEPS - 1>([&](auto i) INLINED { gradients[STEPS - 1 - i] = gradients[STEPS - 2 - i]; });
            gradients[0] = step < height ? load(grad + step * row + j, count) : Vector{};
            const float *first = plane + step * STRIDE * line_length + j;
            unrolled<STRIDE>([&](auto phase) INLINED {
                unrolled<K>([&](auto i) INLINED {
                    const Vector value = load(first + phase * line_length + taps[i]);
                    unrolled<STEPS>([&](auto age) INLINED {
                        constexpr int line = age * STRIDE + phase;
                        if constexpr (line < K) products[line * K + i] += gradients[age] * value;
                    });
                });
            });
        }
        unrolled<K * K>([&](auto i) INLINED {
            float *sum = sums + i * repeat + j % repeat;
            store(sum, load(sum) + products[i]);
        });
    }
}

template <int K, int STRIDE, class T>
void weight_gradient(const Windows &w, const T *grad, const T *x, float *grad_weight, bool relu, int threads) {
    const long repeat = period(w.channels), size = K * K * repeat;
    Floats sums(GROUPS * size);
    PARALLEL_FOR(threads)
    for (long group = 0; group < GROUPS; group++) {
        Floats plane(w.plane());
        for (long n = w.images * group / GROUPS; n < w.images * (group + 1) / GROUPS; n++) {
            fill(w, x + n * w.image(), plane.data(), relu);
            add_products<K, STRIDE>(w, grad + n * w.out_image(), plane.data(), &sums[group * size]);
        }
    }
    for (long c = 0; c < w.channels; c++)
        for (int i = 0; i < K * K; i++) {
            double sum = 0;
            for (long group = 0; group < GROUPS; group++)
                for (long j = c; j < repeat; j += w.channels) sum += sums[group * size + i * repeat + j];
            grad_weight[c * K * K + i] = sum;
        }
}

template <int K, int STRIDE, class T>
void backward(const Windows &w, const T *grad, const T *x, const float *weight, T *grad_x, float *grad_weight,
              bool relu, int threads) {
    if (grad_x) input_gradient<K>(w, grad, x, weight, grad_x, relu, threads);
    if (grad_weight) weight_gradient<K, STRIDE>(w, grad, x, grad_weight, relu, threads);
}

}  // namespace

// The case of a kernel's width, 3 or 5, and a stride, 1 or 2.
#define CASE(run, T)                                                                                                  \
    (stride == 1 ? (kernel == 3 ? run<3, 1, T> : run<5, 1, T>) : (kernel == 3 ? run<3, 2, T> : run<5, 2, T>))

// Of one number format; weights are floats. grad_x and grad_weight may be null.
#define DEPTHWISE(T)                                                                                                  \
    EXPORT void relu_depthwise_##T(const T *x, const float *weight, T *y, int64_t images, int64_t channels,           \
                                   int64_t height, int64_t width, int64_t kernel, int threads) {                      \
        const Windows w{images, channels, height, width, kernel, 1};                                                  \
        (kernel == 3 ? forward<3, T> : forward<5, T>)(w, x, weight, y, threads);                                      \
    }                                                                                                                 \
    EXPORT void depthwise_backward_##T(const T *grad, const T *x, const float *weight, T *grad_x, float *grad_weight, \
                                       int64_t images, int64_t channels, int64_t height, int64_t width,               \
                                       int64_t kernel, int64_t stride, int relu, int threads) {                       \
        const Windows w{images, channels, height, width, kernel, stride};                                             \
        CASE(backward, T)(w, grad, x, weight, grad_x, grad_weight, relu, threads);                                    \
    }

DEPTHWISE(float)
DEPTHWISE(bfloat16)

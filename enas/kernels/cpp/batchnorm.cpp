// Batch norm by the batch's statistics with the ReLU that may follow, of images whose channels come last.
//
// The numbers are read as rows of several pixels, so that a row fills whole vectors for any number of channels.
// The forward pass reads the images twice and writes once; the backward pass reads images and gradients twice and
// writes once: where the ReLU was cut is computed again.

#include "numbers.h"

#include <cmath>

namespace {

constexpr long BLOCKS = 32;    // parts of the images whose sums are kept apart: the same for any number of threads
constexpr long ROW = 128;      // numbers that a row should have at least
constexpr long CHUNK = 8192;   // numbers whose mean and then squares are summed while they are near
constexpr long MOST_PIXELS = 32;

struct Rows {
    long count, width, channels;

    Rows(long pixels, long channels) : channels(channels) {
        long k = 1;
        while ((k * channels < ROW || k * channels % (2 * LANES)) && k < MOST_PIXELS && pixels % (2 * k) == 0) k *= 2;
        count = pixels / k;
        width = k * channels;
    }
    long begin(long block) const { return count * block / BLOCKS; }
    long pixels() const { return count * (width / channels); }
};

// Values of the channels for each number of a row.
Floats repeated(const Rows &rows, const float *values) {
    Floats result(rows.width);
    for (long j = 0; j < rows.width; j += rows.channels) std::copy(values, values + rows.channels, &result[j]);
    return result;
}

// Means and sums of squared distances from them, for each block and each number of a row [BLOCKS, 2, width].
template <class T> void block_moments(const T *__restrict x, const Rows &rows, float *result, int threads) {
    const long width = rows.width, step = std::max(1L, CHUNK / width);
    PARALLEL_FOR(threads)
    for (long block = 0; block < BLOCKS; block++) {
        float *__restrict mean = result + block * 2 * width, *__restrict squares = mean + width;
        std::fill(mean, mean + 2 * width, 0.0f);
        Floats near(2 * width);
        float *__restrict near_mean = near.data(), *__restrict near_squares = near_mean + width;
        const long end = rows.begin(block + 1);
        long seen = 0;
        for (long first = rows.begin(block); first < end; first += step) {
            const long after = std::min(end, first + step), count = after - first;
            std::fill(near.begin(), near.end(), 0.0f);
            for (long i = first; i < after; i++)
                for (long j = 0; j < width; j++) near_mean[j] += number(x[i * width + j]);
            for (long j = 0; j < width; j++) near_mean[j] /= count;
            for (long i = first; i < after; i++)
                for (long j = 0; j < width; j++) {
                    const float distance = number(x[i * width + j]) - near_mean[j];
                    near_squares[j] += distance * distance;
                }
            const float share = (float)count / (seen + count), weight = seen * share;
            for (long j = 0; j < width; j++) {
                const float distance = near_mean[j] - mean[j];
                mean[j] += distance * share;
                squares[j] += near_squares[j] + distance * distance * weight;
            }
            seen += count;
        }
    }
}

// Mean and biased variance of each channel, of the moments of the blocks.
void moments(const Rows &rows, const float *blocks, double *mean, double *variance) {
    const long channels = rows.channels;
    const double pixels = rows.pixels();
    std::fill(mean, mean + channels, 0.0);
    std::fill(variance, variance + channels, 0.0);
    for (int wanted = 0; wanted < 2; wanted++)
        for (long block = 0; block < BLOCKS; block++) {
            const float *means = blocks + block * 2 * rows.width, *squares = means + rows.width;
            const double share = (rows.begin(block + 1) - rows.begin(block)) / pixels;
            for (long j = 0; j < rows.width; j += channels)
                for (long c = 0; c < channels; c++)
                    if (wanted == 0) {
                        mean[c] += share * means[j + c];
                    } else {
                        const double distance = means[j + c] - mean[c];
                        variance[c] += squares[j + c] / pixels + share * distance * distance;
                    }
        }
}

// y may be x.
template <class T, bool RELU>
void affine_row(const T *x, T *y, const float *__restrict a, const float *__restrict b, long width) {
    PRAGMA(GCC ivdep)
    for (long j = 0; j < width; j++) {
        const float value = number(x[j]) * a[j] + b[j];
        store(y + j, RELU ? positive(value) : value);
    }
}

template <class T, bool RELU>
void affine(const T *x, T *y, const Rows &rows, const float *scales, const float *shifts, int threads) {
    const Floats scale = repeated(rows, scales), shift = repeated(rows, shifts);
    const long width = rows.width;
    PARALLEL_FOR(threads)
    for (long i = 0; i < rows.count; i++)
        affine_row<T, RELU>(x + i * width, y + i * width, scale.data(), shift.data(), width);
}

// The gradient before the ReLU, given the norm's result.
template <bool RELU> inline float passed(float gradient, float result) {
    return RELU && result <= 0 ? 0 : gradient;
}

// Adds a row to the sums of the gradient and of the gradient times the distance from the mean.
template <class T, bool RELU>
void add_row(const T *__restrict grad, const T *__restrict x, const float *__restrict a, const float *__restrict b,
             const float *__restrict means, float *__restrict sums, float *__restrict products, long width) {
    for (long j = 0; j < width; j++) {
        const float value = number(x[j]);
        const float gradient = passed<RELU>(number(grad[j]), value * a[j] + b[j]);
        sums[j] += gradient;
        products[j] += gradient * (value - means[j]);
    }
}

// Those sums of each block and each number of a row [BLOCKS, 2, width].
template <class T, bool RELU>
void block_sums(const T *grad, const T *x, const Rows &rows, const float *a, const float *b, const float *means,
                float *result, int threads) {
    const long width = rows.width;
    PARALLEL_FOR(threads)
    for (long block = 0; block < BLOCKS; block++) {
        float *sums = result + block * 2 * width;
        std::fill(sums, sums + 2 * width, 0.0f);
        for (long i = rows.begin(block); i < rows.begin(block + 1); i++)
            add_row<T, RELU>(grad + i * width, x + i * width, a, b, means, sums, sums + width, width);
    }
}

// The gradient of a row of the images.
template <class T, bool RELU>
void gradient_row(const T *__restrict grad, const T *__restrict x, const float *__restrict a,
                  const float *__restrict b, const float *__restrict by_x, const float *__restrict constant,
                  T *__restrict result, long width) {
    for (long j = 0; j < width; j++) {
        const float value = number(x[j]);
        const float gradient = passed<RELU>(number(grad[j]), value * a[j] + b[j]);
        store(result + j, gradient * a[j] + (value * by_x[j] + constant[j]));
    }
}

// The norm's scale and shift of each channel.
void scale_and_shift(long channels, const float *weight, const float *bias, const float *mean, const float *inverse,
                     float *scale, float *shift) {
    for (long c = 0; c < channels; c++) {
        scale[c] = weight[c] * inverse[c];
        shift[c] = bias[c] - mean[c] * scale[c];
    }
}

template <class T>
void forward(const T *x, T *y, const float *weight, const float *bias, float *running_mean, float *running_variance,
             float *mean, float *inverse, long pixels, long channels, float momentum, float eps, bool relu,
             int threads) {
    const Rows rows(pixels, channels);
    Floats blocks(BLOCKS * 2 * rows.width), scale(channels), shift(channels);
    block_moments(x, rows, blocks.data(), threads);
    std::vector<double> exact(2 * channels);
    moments(rows, blocks.data(), exact.data(), exact.data() + channels);
    for (long c = 0; c < channels; c++) {
        const float variance = exact[channels + c];
        mean[c] = exact[c];
        inverse[c] = 1 / std::sqrt(variance + eps);
        if (running_mean) {
            running_mean[c] += momentum * (mean[c] - running_mean[c]);
            running_variance[c] += momentum * (variance * pixels / (pixels - 1) - running_variance[c]);
        }
    }
    scale_and_shift(channels, weight, bias, mean, inverse, scale.data(), shift.data());
    (relu ? affine<T, true> : affine<T, false>)(x, y, rows, scale.data(), shift.data(), threads);
}

template <class T, bool RELU>
void backward(const T *grad, const T *x, T *grad_x, const float *weight, const float *bias, const float *mean,
              const float *inverse, float *grad_weight, float *grad_bias, long pixels, long channels, int threads) {
    const Rows rows(pixels, channels);
    Floats scale(channels), shift(channels);
    scale_and_shift(channels, weight, bias, mean, inverse, scale.data(), shift.data());
    const Floats a = repeated(rows, scale.data()), b = repeated(rows, shift.data()), means = repeated(rows, mean);
    Floats blocks(BLOCKS * 2 * rows.width);
    block_sums<T, RELU>(grad, x, rows, a.data(), b.data(), means.data(), blocks.data(), threads);
    std::vector<double> sums(2 * channels);
    for (long block = 0; block < 2 * BLOCKS; block++) {
        double *sum = sums.data() + block % 2 * channels;
        const float *row = blocks.data() + block * rows.width;
        for (long j = 0; j < rows.width; j += channels)
            for (long c = 0; c < channels; c++) sum[c] += row[j + c];
    }
    Floats by_x(channels), constant(channels);
    for (long c = 0; c < channels; c++) {
        grad_bias[c] = sums[c];
        grad_weight[c] = sums[channels + c] * inverse[c];
        by_x[c] = -scale[c] * inverse[c] * grad_weight[c] / pixels;
        constant[c] = -scale[c] * grad_bias[c] / pixels - by_x[c] * mean[c];
    }
    if (!grad_x) return;
    const Floats slope = repeated(rows, by_x.data()), level = repeated(rows, constant.data());
    const long width = rows.width;
    PARALLEL_FOR(threads)
    for (long i = 0; i < rows.count; i++)
        gradient_row<T, RELU>(grad + i * width, x + i * width, a.data(), b.data(), slope.data(), level.data(),
                              grad_x + i * width, width);
}

}  // namespace

// Of one number format. grad_x, running_mean and running_variance may be null.
#define BATCH_NORM(T)                                                                                                 \
    EXPORT void batch_norm_##T(const T *x, T *y, const float *weight, const float *bias, float *running_mean,         \
                               float *running_variance, float *mean, float *inverse, int64_t pixels,                  \
                               int64_t channels, float momentum, float eps, int relu, int threads) {                  \
        forward(x, y, weight, bias, running_mean, running_variance, mean, inverse, pixels, channels, momentum, eps,   \
                relu, threads);                                                                                       \
    }                                                                                                                 \
    EXPORT void batch_norm_backward_##T(const T *grad, const T *x, T *grad_x, const float *weight, const float *bias, \
                                        const float *mean, const float *inverse, float *grad_weight,                  \
                                        float *grad_bias, int64_t pixels, int64_t channels, int relu, int threads) {  \
        (relu ? backward<T, true> : backward<T, false>)(grad, x, grad_x, weight, bias, mean, inverse, grad_weight,    \
                                                        grad_bias, pixels, channels, threads);                        \
    }

BATCH_NORM(float)
BATCH_NORM(bfloat16)

// ReLU, and sums of tensors, of numbers that lie one after the other, in whatever order.

#include "numbers.h"

namespace {

constexpr long PART = 1 << 14;  // numbers that a thread takes at a time

// Whether a number stays as it is: above zero, or no number.
inline bool stays(float x) { return !(x <= 0); }
inline bool stays(bfloat16 x) { return (bfloat16)(x - 1) < 0x7fff || x > 0xff80; }

template <class T>
void relu_part(const T *__restrict x, T *__restrict y, long count) {
    for (long i = 0; i < count; i++) y[i] = stays(x[i]) ? x[i] : T(0);
}

template <class T>
void gradient_part(const T *__restrict grad, const T *__restrict y, T *__restrict grad_x, long count) {
    for (long i = 0; i < count; i++) grad_x[i] = stays(y[i]) ? grad[i] : T(0);
}

// Adds them all at once: each is read once, and the sum is rounded once.
template <class T> void total_part(const T *const *tensors, long number_of_them, long first, T *y, long count) {
    for (long i = 0; i < count; i += LANES) {
        const long some = std::min<long>(LANES, count - i);
        Vector sum = load(tensors[0] + first + i, some);
        for (long k = 1; k < number_of_them; k++) sum += load(tensors[k] + first + i, some);
        store(y + first + i, sum, some);
    }
}

}  // namespace

// Of one number format. y: the result of the ReLU.
#define ELEMENTWISE(T)                                                                                                     \
    EXPORT void relu_##T(const T *x, T *y, int64_t count, int threads) {                                              \
        PARALLEL_FOR(threads)                                                                                         \
        for (long i = 0; i < count; i += PART) relu_part(x + i, y + i, std::min<long>(PART, count - i));              \
    }                                                                                                                 \
    EXPORT void relu_backward_##T(const T *grad, const T *y, T *grad_x, int64_t count, int threads) {                 \
        PARALLEL_FOR(threads)                                                                                         \
        for (long i = 0; i < count; i += PART)                                                                        \
            gradient_part(grad + i, y + i, grad_x + i, std::min<long>(PART, count - i));                              \
    }                                                                                                                 \
    EXPORT void total_##T(T *y, const T *const *tensors, int64_t number_of_them, int64_t count, int threads) {        \
        PARALLEL_FOR(threads)                                                                                         \
        for (long i = 0; i < count; i += PART)                                                                        \
            total_part(tensors, number_of_them, i, y, std::min<long>(PART, count - i));                               \
    }

ELEMENTWISE(float)
ELEMENTWISE(bfloat16)

// Number formats, vectors and threads, for all kernels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

// A loop over independent parts. What a part computes must not depend on how many threads there are.
#define PRAGMA(text) _Pragma(#text)
#define PARALLEL_FOR(threads) PRAGMA(omp parallel for schedule(static) num_threads(threads) if (threads > 1))

#define EXPORT extern "C" __attribute__((visibility("default")))

// Calls body(0), ..., body(N - 1), each with a constant: a loop whose arrays become registers.
#define INLINED __attribute__((always_inline))
template <int N, int FIRST = 0, class Body> INLINED inline void unrolled(const Body &body) {
    if constexpr (FIRST < N) {
        body(std::integral_constant<int, FIRST>());
        unrolled<N, FIRST + 1>(body);
    }
}

typedef uint16_t bfloat16;
typedef std::vector<float> Floats;

static inline float number(float value) { return value; }
static inline float number(bfloat16 value) {
    const uint32_t bits = (uint32_t)value << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

static inline void store(float *place, float value) { *place = value; }
// Rounds to the nearest number, and halves to even. No result of arithmetic is a NaN that this would overflow.
static inline void store(bfloat16 *place, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    *place = (bfloat16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// ReLU, by which a NaN stays one.
static inline float positive(float value) { return value < 0 ? 0 : value; }

#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif
typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Mask __attribute__((vector_size(4 * LANES)));  // of comparisons: all bits or none
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));
typedef uint16_t Half __attribute__((vector_size(2 * LANES)));

static inline Vector load(const float *place) {
    Vector result;
    std::memcpy(&result, place, sizeof result);
    return result;
}
static inline Vector load(const bfloat16 *place) {
    Half half;
    std::memcpy(&half, place, sizeof half);
    return (Vector)(__builtin_convertvector(half, Bits) << 16);
}

static inline void store(float *place, Vector value) { std::memcpy(place, &value, sizeof value); }
static inline void store(bfloat16 *place, Vector value) {
    const Bits bits = (Bits)value;
    const Half half = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, Half);
    std::memcpy(place, &half, sizeof half);
}

// The same for the first `count` numbers of a vector; the others are 0.
template <class T> static inline Vector load(const T *place, long count) {
    if (count >= LANES) return load(place);
    T numbers[LANES] = {};
    std::memcpy(numbers, place, count * sizeof(T));
    return load(numbers);
}
template <class T> static inline void store(T *place, Vector value, long count) {
    if (count >= LANES) return store(place, value);
    T numbers[LANES];
    store(numbers, value);
    std::memcpy(place, numbers, count * sizeof(T));
}

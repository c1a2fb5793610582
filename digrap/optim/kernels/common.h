// What the update rules share: the data they are given, the base update, sums along rows.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

constexpr int64_t CHUNK = 1024;  // elements that are worked on at a time: they stay in the first-level cache

// ---- what the caller describes: the fields are those of native.py, in the same order ----
// size: lr / (1 − beta1^t), root: √(1 − beta2^t)

struct Options {
    int64_t rule, base, tensors, threads, block, step;
    int64_t anchor_zero, nesterov, learnt, listing, normalize;  // normalize: 0 rows, 1 tensor, 2 none
    double lr, size, root, beta1, beta2, eps, weight_decay, momentum, mu, lam, omega, omega_max, strength, k;
};

struct Tensor {
    void *param, *grad, *anchor, *exp_avg, *exp_avg_sq, *extra;  // exp_avg: the momentum buffer of SGD; extra: delta, candidate
    float* step;
    void* numbers[6];           // per-tensor numbers, in the order of the rule's `scalars`
    int64_t out, red, inner;    // rows run along `red`
};

// ---- what the blocks exchange ----

struct Range {
    int64_t begin, end, row, length;  // elements; first row, elements of a row (of a part, if the row is cut)
    bool part;                        // whether the block is a part of one row
};

struct Sums {
    double a = 0, b = 0, c = 0, h = 0;            // over the block
    double dot = 0, left = 0, right = 0;          // over the part of a row
};

struct Numbers {
    double s = 0;        // factor of δ; share to shrink; bound
    int64_t row = -1;    // MARS-SP's row
    bool needed = false; // whether there is a second phase
};

struct Pieces {
    const Sums* sums;
    int64_t count, parts;  // blocks; parts of a row, 0 where rows are whole
};

// ---- dtypes ----

struct bfloat16 { uint16_t bits; };

template <class S> struct Arithmetic { using type = S; };
template <> struct Arithmetic<bfloat16> { using type = float; };

inline float get(const float& x) { return x; }
inline double get(const double& x) { return x; }
inline float get(const bfloat16& x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
}
inline void put(float& to, float x) { to = x; }
inline void put(double& to, double x) { to = x; }
inline void put(bfloat16& to, float x) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, 4);
    uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    to.bits = uint16_t(x == x ? rounded : 0x7FC0);
}
template <class S, class A> inline A rounded(A x) {
    if constexpr (std::is_same<S, bfloat16>::value) {
        bfloat16 kept;
        put(kept, x);
        return get(kept);
    }
    return x;
}

// ---- pieces of the rules; every function works on at most CHUNK elements at a time ----

#define SIMD _Pragma("omp simd")
#define SIMD_SUM(...) _Pragma(SIMD_TEXT(omp simd reduction(+ : __VA_ARGS__)))
#define SIMD_TEXT(...) #__VA_ARGS__

template <class S> struct View {  // the tensor's data from an element on
    using A = typename Arithmetic<S>::type;
    S *param, *exp_avg, *exp_avg_sq, *extra;
    const S *grad, *anchor;
    View(const Tensor& t, int64_t at)
        : param((S*)t.param + at), exp_avg(t.exp_avg ? (S*)t.exp_avg + at : nullptr),
          exp_avg_sq(t.exp_avg_sq ? (S*)t.exp_avg_sq + at : nullptr), extra(t.extra ? (S*)t.extra + at : nullptr),
          grad((const S*)t.grad + at), anchor(t.anchor ? (const S*)t.anchor + at : nullptr) {}
};

// out = θ − θ0, rounded as a tensor of the parameters' dtype.
template <class S, class A> void displacement(const View<S>& x, int64_t n, A* out) {
    if (x.anchor) {
        SIMD for (int64_t j = 0; j < n; j++) out[j] = rounded<S>(get(x.param[j]) - get(x.anchor[j]));
    } else {
        SIMD for (int64_t j = 0; j < n; j++) out[j] = get(x.param[j]);
    }
}

// What is switched off is left out and not multiplied by 0, which would make NaN of an infinite element.
template <class S, class A, bool decays, bool momentum>
void sgd(const Options& o, const View<S>& x, int64_t n, const A* g) {
    const A lr = A(o.lr), decay = A(o.weight_decay), keep = A(o.momentum);
    auto run = [&](auto nesterov) {
        SIMD for (int64_t j = 0; j < n; j++) {
            A p = get(x.param[j]), move = g[j];
            if constexpr (decays) move += decay * p;
            if constexpr (momentum) {
                const A m = get(x.exp_avg[j]) * keep + move;
                put(x.exp_avg[j], m);
                if constexpr (decltype(nesterov)::value) move += keep * m;
                else move = m;
            }
            put(x.param[j], p - lr * move);
        }
    };
    o.nesterov ? run(std::true_type()) : run(std::false_type());
}

// The base update with the gradients `g`. The order of operations is that of torch's fused kernels.
template <class S, class A> void update(const Options& o, const View<S>& x, int64_t n, const A* g) {
    if (o.base == 0) {
        const A decay = A(1 - o.lr * o.weight_decay), c1 = A(1 - o.beta1), b2 = A(o.beta2), c2 = A(1 - o.beta2);
        const A size = A(o.size), root = A(o.root), eps = A(o.eps);
        SIMD for (int64_t j = 0; j < n; j++) {
            A p = get(x.param[j]) * decay, m = get(x.exp_avg[j]), v = get(x.exp_avg_sq[j]);
            m = m + c1 * (g[j] - m);
            v = v * b2 + c2 * g[j] * g[j];
            put(x.exp_avg[j], m);
            put(x.exp_avg_sq[j], v);
            put(x.param[j], p - size * m / (std::sqrt(v) / root + eps));
        }
        return;
    }
    auto run = [&](auto decays) {
        x.exp_avg ? sgd<S, A, decays, true>(o, x, n, g) : sgd<S, A, decays, false>(o, x, n, g);
    };
    o.weight_decay != 0 ? run(std::true_type()) : run(std::false_type());
}

// The gradients in the arithmetic's dtype: as they lie in memory, or converted into `space`.
template <class S, class A> const A* gradient(const View<S>& x, int64_t n, A* space) {
    if constexpr (std::is_same<S, A>::value) return x.grad;
    SIMD for (int64_t j = 0; j < n; j++) space[j] = get(x.grad[j]);
    return space;
}

// Call body(View, count) for the block, CHUNK elements at a time.
template <class S, class Body> void by_chunks(const Tensor& t, const Range& where, Body body) {
    for (int64_t at = where.begin; at < where.end; at += CHUNK) body(View<S>(t, at), std::min(CHUNK, where.end - at));
}

// Call body(View, count, row, rows) for the block: several whole rows at a time where they are short, else a part of one.
template <class S, class Body> void by_rows(const Tensor& t, const Range& where, Body body) {
    const int64_t length = where.length;
    int64_t row = where.row, at = where.begin;
    if (length <= CHUNK / 8) {
        for (const int64_t many = CHUNK / length; at < where.end;) {
            const int64_t rows = std::min(many, (where.end - at) / length);
            body(View<S>(t, at), rows * length, row, rows);
            at += rows * length;
            row += rows;
        }
        return;
    }
    for (; at < where.end; at += length, row++)
        for (int64_t from = 0; from < length; from += CHUNK)
            body(View<S>(t, at + from), std::min(CHUNK, length - from), row, 1);
}

template <class A> A total(const A* x, int64_t n) {
    A sum = 0;
    SIMD_SUM(sum) for (int64_t j = 0; j < n; j++) sum += x[j];
    return sum;
}

// Replace x, `rows` rows of equal length n / rows, by the rows' sums.
template <class A> void fold(A* x, int64_t n, int64_t rows) {
    int64_t length = n / rows;
    for (; length % 2 == 0; length /= 2, n /= 2) {
        SIMD for (int64_t j = 0; j < n / 2; j++) x[j] = x[2 * j] + x[2 * j + 1];
    }
    if (length == 1) return;
    for (int64_t row = 0; row < rows; row++) x[row] = total(x + row * length, length);
}

template <class A> A& number(const Tensor& t, int at) { return *(A*)t.numbers[at]; }

// One Adam step of rate `mu` on the hyper-gradient h for the number at `at`, whose moments follow it; the value before the
// clamp. Nothing is learnt from an h whose square is not finite.
template <class A> A learn(const Options& o, const Tensor& t, int at, A h) {
    if (!std::isfinite(h * h)) return number<A>(t, at);
    A &m = number<A>(t, at + 1), &v = number<A>(t, at + 2);
    m = A(0.9) * m + A(0.1) * h;
    v = A(0.999) * v + A(0.001) * h * h;
    const A mean = m / A(1 - std::pow(0.9, double(o.step))), square = v / A(1 - std::pow(0.999, double(o.step)));
    return number<A>(t, at) - A(o.mu) * mean / (std::sqrt(square) + A(1e-8));
}

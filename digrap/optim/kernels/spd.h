// SPD: the first phase updates and takes <g, δ>, ‖δ‖² and the growth of it; the second undoes a part where δ grew.
#pragma once
#include "common.h"

template <class S> struct SPD {
    using A = typename Arithmetic<S>::type;
    static constexpr bool keeps_rows = false, two_phases = true;

    static Sums first(const Options& o, const Tensor& t, const Range& where, double*) {
        Sums sums;
        by_chunks<S>(t, where, [&](const View<S>& x, int64_t n) {
            A space[CHUNK], before[CHUNK], after[CHUNK], d = 0, square = 0, growth = 0;
            const A* g = gradient<S>(x, n, space);
            displacement<S>(x, n, before);
            update<S>(o, x, n, g);
            displacement<S>(x, n, after);
            SIMD_SUM(d, square, growth) for (int64_t j = 0; j < n; j++) {
                d += g[j] * before[j];
                square += before[j] * before[j];
                growth += (after[j] - before[j]) * (after[j] + before[j]);
            }
            sums.a += d;
            sums.b += square;
            sums.c += growth;
        });
        return sums;
    }

    static Numbers between(const Options& o, const Tensor&, const Pieces& all, double*) {
        double d = 0, square = 0, growth = 0;
        for (int64_t i = 0; i < all.count; i++) {
            d += all.sums[i].a;
            square += all.sums[i].b;
            growth += all.sums[i].c;
        }
        Numbers numbers;
        const double end = std::sqrt(square + growth), start = std::sqrt(square);
        if (!(d > 0) || !std::isfinite(A(d)) || !std::isfinite(A(square)) || !std::isfinite(A(growth)) || !(end > 0))
            return numbers;
        numbers.s = o.strength * std::min(std::max(growth / (end * (end + start)), 0.0), 1.0);
        numbers.needed = numbers.s != 0;
        return numbers;
    }

    static void second(const Options&, const Tensor& t, const Range& where, const Numbers& numbers, double*) {
        if (!numbers.needed) return;
        const A s = A(numbers.s);
        by_chunks<S>(t, where, [&](const View<S>& x, int64_t n) {
            A delta[CHUNK];
            displacement<S>(x, n, delta);
            SIMD for (int64_t j = 0; j < n; j++) put(x.param[j], get(x.param[j]) - s * delta[j]);
        });
    }
};

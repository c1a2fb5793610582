// FTP: the first phase takes h from the previous candidate, updates, writes the new candidate c and its row sums; the
// second shrinks the rows that are longer than γ.
#pragma once
#include "common.h"

template <class S> struct FTP {
    using A = typename Arithmetic<S>::type;
    static constexpr bool keeps_rows = true, two_phases = true;
    static constexpr double TINY = 1e-8;
    enum { GAMMA };

    static Sums first(const Options& o, const Tensor& t, const Range& where, double* own_rows) {
        Sums sums;
        double dot = 0, left = 0, right = 0;
        int64_t seen = 0;
        by_rows<S>(t, where, [&](const View<S>& x, int64_t n, int64_t row, int64_t rows) {
            A space[CHUNK], gx[CHUNK], old[CHUNK], now[CHUNK];
            const A* g = gradient<S>(x, n, space);
            SIMD for (int64_t j = 0; j < n; j++) {
                gx[j] = g[j] * get(x.extra[j]);
                old[j] = std::fabs(get(x.extra[j]));
            }
            update<S>(o, x, n, g);
            displacement<S>(x, n, now);
            SIMD for (int64_t j = 0; j < n; j++) {
                put(x.extra[j], now[j]);
                now[j] = std::fabs(now[j]);
            }
            if (where.length <= CHUNK / 8 && !where.part) {
                fold(gx, n, rows);
                fold(old, n, rows);
                fold(now, n, rows);
                A h = 0;
                SIMD_SUM(h) for (int64_t r = 0; r < rows; r++) h += gx[r] / (old[r] + A(TINY));
                sums.h += h;
                for (int64_t r = 0; r < rows; r++) own_rows[row + r] = double(now[r] + A(TINY));
                return;
            }
            dot += total(gx, n);
            left += total(old, n);
            right += total(now, n);
            seen += n;
            if (!where.part && seen == where.length) {
                sums.h += dot / (left + TINY);
                own_rows[row] = right + TINY;
                dot = left = right = 0;
                seen = 0;
            }
        });
        sums.dot = dot;
        sums.left = left;
        sums.right = right;
        return sums;
    }

    static Numbers between(const Options& o, const Tensor& t, const Pieces& all, double* own_rows) {
        double h = 0, dot = 0, left = 0, right = 0;
        for (int64_t i = 0; i < all.count; i++) {
            h += all.sums[i].h;
            dot += all.sums[i].dot;
            left += all.sums[i].left;
            right += all.sums[i].right;
            if (all.parts && (i + 1) % all.parts == 0) {
                h += dot / (left + TINY);
                own_rows[i / all.parts] = right + TINY;
                dot = left = right = 0;
            }
        }
        A gamma = number<A>(t, GAMMA);
        if (o.step > 1) gamma = learn<A>(o, t, GAMMA, A(h > 0 ? o.k * h : h));
        double most = 0;
        for (int64_t row = 0; row < t.out; row++)
            if (std::isfinite(A(own_rows[row]))) most = std::max(most, own_rows[row]);
        gamma = std::max(gamma, A(TINY));
        if (most > 0) gamma = std::min(gamma, A(most));
        number<A>(t, GAMMA) = gamma;
        Numbers numbers;
        numbers.s = gamma;
        numbers.needed = gamma < A(most);
        return numbers;
    }

    static void second(const Options&, const Tensor& t, const Range& where, const Numbers& numbers, double* own_rows) {
        if (!numbers.needed) return;
        by_rows<S>(t, where, [&](const View<S>& x, int64_t n, int64_t row, int64_t rows) {
            const int64_t length = n / rows;
            for (int64_t r = 0; r < rows; r++) {
                const A sum = A(own_rows[row + r]), ratio = rounded<S>(A(numbers.s) / sum);
                if (!std::isfinite(sum) || ratio >= 1) continue;
                S* param = x.param + r * length;
                if (!x.anchor) {
                    SIMD for (int64_t j = 0; j < length; j++) put(param[j], get(param[j]) * ratio);
                    continue;
                }
                const S* anchor = x.anchor + r * length;
                SIMD for (int64_t j = 0; j < length; j++) {
                    const A start = get(anchor[j]), way = get(param[j]) - start;
                    put(param[j], ratio < A(0.5) ? start + ratio * way : get(param[j]) - way * (1 - ratio));
                }
            }
        });
    }
};

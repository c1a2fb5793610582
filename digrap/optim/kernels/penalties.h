// L2-SP and MARS-SP: penalties on θ − θ0, whose gradient is added to the task's.
#pragma once
#include "common.h"

template <class S> struct L2SP {
    using A = typename Arithmetic<S>::type;
    static constexpr bool keeps_rows = false, two_phases = false;

    static Sums first(const Options& o, const Tensor& t, const Range& where, double*) {
        const A lam = A(o.lam);
        by_chunks<S>(t, where, [&](const View<S>& x, int64_t n) {
            A g[CHUNK];
            displacement<S>(x, n, g);
            SIMD for (int64_t j = 0; j < n; j++) g[j] = get(x.grad[j]) + lam * g[j];
            update<S>(o, x, n, g);
        });
        return {};
    }
    static Numbers between(const Options&, const Tensor&, const Pieces&, double*) { return {}; }
    static void second(const Options&, const Tensor&, const Range&, const Numbers&, double*) {}
};

// The first phase finds the row with the largest ℓ1 norm: `a` is the block's largest, `b` its first row.
template <class S> struct MARSSP {
    using A = typename Arithmetic<S>::type;
    static constexpr bool keeps_rows = false, two_phases = true;

    static Sums first(const Options&, const Tensor& t, const Range& where, double*) {
        Sums sums;
        sums.a = -1;
        sums.b = double(where.row);
        double left = 0;
        int64_t seen = 0;
        by_rows<S>(t, where, [&](const View<S>& x, int64_t n, int64_t row, int64_t rows) {
            A size[CHUNK];
            displacement<S>(x, n, size);
            SIMD for (int64_t j = 0; j < n; j++) size[j] = std::fabs(size[j]);
            if (where.length <= CHUNK / 8 && !where.part) {
                fold(size, n, rows);
                for (int64_t r = 0; r < rows; r++) larger(sums, size[r], row + r);
                return;
            }
            left += total(size, n);
            seen += n;
            if (seen == where.length) {
                if (where.part) sums.left = left;
                else larger(sums, left, row);
                left = 0;
                seen = 0;
            }
        });
        return sums;
    }

    static void larger(Sums& sums, double norm, int64_t row) {
        if (A(norm) > A(sums.a)) {
            sums.a = norm;
            sums.b = double(row);
        }
    }

    static Numbers between(const Options&, const Tensor&, const Pieces& all, double*) {
        Sums most;
        most.a = -1;
        double norm = 0;
        for (int64_t i = 0; i < all.count; i++) {
            if (!all.parts) {
                larger(most, all.sums[i].a, int64_t(all.sums[i].b));
                continue;
            }
            norm += all.sums[i].left;
            if ((i + 1) % all.parts == 0) {
                larger(most, norm, i / all.parts);
                norm = 0;
            }
        }
        Numbers numbers;
        numbers.row = most.a < 0 ? 0 : int64_t(most.b);  // the first where no sum is a number
        return numbers;
    }

    static void second(const Options& o, const Tensor& t, const Range& where, const Numbers& numbers, double*) {
        const A lam = A(o.lam);
        const int64_t slab = t.red * t.inner;
        const S* start = (const S*)t.grad;
        by_chunks<S>(t, where, [&](const View<S>& x, int64_t n) {
            A space[CHUNK];
            const A* g = gradient<S>(x, n, space);
            const int64_t at = x.grad - start;
            const int64_t from = std::max<int64_t>(0, numbers.row * slab - at);
            const int64_t to = std::min<int64_t>(n, (numbers.row + 1) * slab - at);
            if (from < to) {
                A delta[CHUNK];
                displacement<S>(x, n, delta);
                std::copy(g, g + n, space);
                for (int64_t j = from; j < to; j++) space[j] += lam * A((delta[j] > 0) - (delta[j] < 0));
                g = space;
            }
            update<S>(o, x, n, g);
        });
    }
};

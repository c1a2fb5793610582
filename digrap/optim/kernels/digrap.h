// DiGraP: the first phase takes h, d, n and writes δ over that of the previous step; the second updates with g + s δ.
#pragma once
#include <limits>
#include <vector>

#include "common.h"

template <class S> struct DiGraP {
    using A = typename Arithmetic<S>::type;
    static constexpr bool keeps_rows = false, two_phases = true;
    static constexpr double TINY = 1e-12;
    enum { OMEGA, OMEGA_M, OMEGA_V, PROJECTION, REMOVED, CONFLICTS };

    // unit(g) · unit(p) where p = c x: the dot product and the norms are those of g and x.
    static double cosine(double c, double dot, double g, double x) {
        return c * dot / (std::max(std::sqrt(g), TINY) * std::max(std::fabs(c) * std::sqrt(x), TINY));
    }

    static Sums first(const Options& o, const Tensor& t, const Range& where, double*) {
        Sums sums;
        if (!o.learnt) {
            by_chunks<S>(t, where, [&](const View<S>& x, int64_t n) {
                A delta[CHUNK];
                displacement<S>(x, n, delta);
                reduce(x.grad, delta, n, sums);
            });
        } else if (o.step == 1) {
            by_chunks<S>(t, where, [&](const View<S>& x, int64_t n) {
                renew(x, n);
                reduce(x.grad, x.extra, n, sums);
            });
        } else if (o.normalize == 0 && t.red == 1) {
            single(t, where, sums);
        } else if (o.normalize == 0 && t.inner > 1) {
            strided(t, where, sums);
        } else if (o.normalize == 0 && where.length <= CHUNK / 8) {
            short_rows(t, where, sums);
        } else {
            long_rows(o, t, where, sums);
        }
        return sums;
    }

    // Write δ over that of the previous step.
    static void renew(const View<S>& x, int64_t n) {
        if (x.anchor) {
            SIMD for (int64_t j = 0; j < n; j++) put(x.extra[j], get(x.param[j]) - get(x.anchor[j]));
        } else {
            SIMD for (int64_t j = 0; j < n; j++) x.extra[j] = x.param[j];
        }
    }

    // Add d, n and ‖g‖² of some elements.
    template <class D> static void reduce(const S* grad, const D* delta, int64_t n, Sums& sums) {
        A d = 0, square = 0, energy = 0;
        SIMD_SUM(d, square, energy) for (int64_t j = 0; j < n; j++) {
            A g = get(grad[j]), x = get(delta[j]);
            d += g * x;
            square += x * x;
            energy += g * g;
        }
        sums.a += d;
        sums.b += square;
        sums.c += energy;
    }

    struct Row {
        A d, square, gx, gg, xx;
    };

    // Write δ over that of the previous step, and take the sums of both; in variables of this function's own, which stay
    // in registers.
    template <class Anchor> static Row take(const View<S>& x, int64_t n, Anchor anchor) {
        A d = 0, square = 0, gx = 0, gg = 0, xx = 0;
        SIMD_SUM(d, square, gx, gg, xx) for (int64_t j = 0; j < n; j++) {
            A g = get(x.grad[j]), old = get(x.extra[j]), now = rounded<S>(get(x.param[j]) - anchor(j));
            put(x.extra[j], now);
            gx += g * old;
            gg += g * g;
            xx += old * old;
            d += g * now;
            square += now * now;
        }
        return {d, square, gx, gg, xx};
    }

    static void long_rows(const Options& o, const Tensor& t, const Range& where, Sums& sums) {
        const double c = number<A>(t, PROJECTION);
        double dot = 0, left = 0, right = 0;
        int64_t seen = 0;
        by_rows<S>(t, where, [&](const View<S>& x, int64_t n, int64_t, int64_t) {
            const Row row = x.anchor ? take(x, n, [&](int64_t j) { return get(x.anchor[j]); })
                                     : take(x, n, [](int64_t) { return A(0); });
            sums.a += row.d;
            sums.b += row.square;
            sums.c += row.gg;
            dot += row.gx;
            left += row.gg;
            right += row.xx;
            seen += n;
            if (o.normalize == 0 && !where.part && seen == where.length) {
                sums.h += cosine(c, dot, left, right);
                dot = left = right = 0;
                seen = 0;
            }
        });
        sums.dot = dot;
        sums.left = left;
        sums.right = right;
    }

    // Rows of one element: unit(·) is a sign, exactly, so that opposite signs cancel.
    static void single(const Tensor& t, const Range& where, Sums& sums) {
        const A c = number<A>(t, PROJECTION), size = std::fabs(c), tiny = A(TINY);
        by_chunks<S>(t, where, [&](const View<S>& x, int64_t n) {
            A h = 0;
            SIMD_SUM(h) for (int64_t j = 0; j < n; j++) {
                const A g = get(x.grad[j]), old = get(x.extra[j]);
                h += g / std::max(std::sqrt(g * g), tiny) * (c * old / std::max(size * std::sqrt(old * old), tiny));
            }
            sums.h += h;
            renew(x, n);
            reduce(x.grad, x.extra, n, sums);
        });
    }

    static void short_rows(const Tensor& t, const Range& where, Sums& sums) {
        const A c = number<A>(t, PROJECTION), size = std::fabs(c), tiny = A(TINY);
        by_rows<S>(t, where, [&](const View<S>& x, int64_t n, int64_t, int64_t rows) {
            A gx[CHUNK], gg[CHUNK], xx[CHUNK], h = 0;
            SIMD for (int64_t j = 0; j < n; j++) {
                A g = get(x.grad[j]), old = get(x.extra[j]);
                gx[j] = g * old;
                gg[j] = g * g;
                xx[j] = old * old;
            }
            fold(gx, n, rows);
            fold(gg, n, rows);
            fold(xx, n, rows);
            SIMD_SUM(h) for (int64_t r = 0; r < rows; r++)
                h += c * gx[r] / (std::max(std::sqrt(gg[r]), tiny) * std::max(size * std::sqrt(xx[r]), tiny));
            sums.h += h;
            renew(x, n);
            reduce(x.grad, x.extra, n, sums);
        });
    }

    // Rows that do not lie together: kernels, with `inner` elements from one element of a row to the next.
    static void strided(const Tensor& t, const Range& where, Sums& sums) {
        const double c = number<A>(t, PROJECTION);
        const int64_t slab = t.red * t.inner, period = t.inner * std::max<int64_t>(1, 64 / t.inner);
        std::vector<A> space(3 * period);
        A *gx = space.data(), *gg = gx + period, *xx = gg + period;
        for (int64_t begin = where.begin; begin < where.end; begin += slab) {
            std::fill(space.begin(), space.end(), A(0));
            for (int64_t at = 0; at < slab; at += period) {
                const View<S> x(t, begin + at);
                const int64_t n = std::min(period, slab - at);
                SIMD for (int64_t j = 0; j < n; j++) {
                    A g = get(x.grad[j]), old = get(x.extra[j]);
                    gx[j] += g * old;
                    gg[j] += g * g;
                    xx[j] += old * old;
                }
            }
            for (int64_t i = t.inner; i < period; i++) {
                gx[i % t.inner] += gx[i];
                gg[i % t.inner] += gg[i];
                xx[i % t.inner] += xx[i];
            }
            for (int64_t i = 0; i < t.inner; i++) sums.h += cosine(c, gx[i], gg[i], xx[i]);
            for (int64_t at = 0; at < slab; at += CHUNK) {
                const View<S> x(t, begin + at);
                const int64_t n = std::min(CHUNK, slab - at);
                renew(x, n);
                reduce(x.grad, x.extra, n, sums);
            }
        }
    }

    static double hyper_gradient(const Options& o, const Tensor& t, const Pieces& all) {
        const double c = number<A>(t, PROJECTION);
        double h = 0, dot = 0, left = 0, right = 0;
        const int64_t parts = o.normalize == 0 ? all.parts : all.count;
        for (int64_t i = 0; i < all.count; i++) {
            h += all.sums[i].h;
            dot += all.sums[i].dot;
            left += all.sums[i].left;
            right += all.sums[i].right;
            if (parts && (i + 1) % parts == 0) {
                h += o.normalize == 2 ? c * dot : cosine(c, dot, left, right);
                dot = left = right = 0;
            }
        }
        return h;
    }

    static Numbers between(const Options& o, const Tensor& t, const Pieces& all, double*) {
        double d = 0, n = 0, energy = 0;
        for (int64_t i = 0; i < all.count; i++) {
            d += all.sums[i].a;
            n += all.sums[i].b;
            energy += all.sums[i].c;
        }
        A omega = A(o.omega);
        if (o.learnt && o.step > 1) {
            omega = learn<A>(o, t, OMEGA, A(hyper_gradient(o, t, all)));
            omega = std::min(std::max(omega, A(0)), A(o.omega_max));
            number<A>(t, OMEGA) = omega;
        } else if (o.learnt) {
            omega = number<A>(t, OMEGA);
        }
        const double least = std::numeric_limits<A>::min() / std::numeric_limits<A>::epsilon();
        double projection = n > least ? d / n : 0;
        const bool sound = std::isfinite(A(d)) && std::isfinite(A(n)) && std::isfinite(A(projection));
        const bool conflict = sound && d < 0;
        if (!sound) projection = 0;
        const double strength = sound && conflict == !o.listing ? double(omega) : 0;
        const double taken = (2 - strength) * strength * d * projection / energy;
        number<A>(t, REMOVED) = strength != 0 && energy > 0 && std::isfinite(A(energy)) ? A(taken) : A(0);
        number<A>(t, CONFLICTS) += A(conflict);
        // h of the next step contains this α, except where unit(·) cancels it
        if (o.learnt) number<A>(t, PROJECTION) = A(projection * (o.normalize == 2 ? o.lr : 1));
        Numbers numbers;
        numbers.s = o.lam - strength * projection;
        return numbers;
    }

    static void second(const Options& o, const Tensor& t, const Range& where, const Numbers& numbers, double*) {
        const A s = A(numbers.s);
        by_chunks<S>(t, where, [&](const View<S>& x, int64_t n) {
            A g[CHUNK];
            if (s == 0) {
                update<S>(o, x, n, gradient<S>(x, n, g));
                return;
            }
            if (x.anchor && x.extra) {
                SIMD for (int64_t j = 0; j < n; j++) g[j] = get(x.grad[j]) + s * get(x.extra[j]);
            } else if (x.anchor) {
                SIMD for (int64_t j = 0; j < n; j++)
                    g[j] = get(x.grad[j]) + s * rounded<S>(get(x.param[j]) - get(x.anchor[j]));
            } else {
                SIMD for (int64_t j = 0; j < n; j++) g[j] = get(x.grad[j]) + s * get(x.param[j]);
            }
            update<S>(o, x, n, g);
        });
    }
};

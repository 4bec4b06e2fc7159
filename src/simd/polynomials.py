#!/usr/bin/env python3
"""Derives the polynomials of exp2_poly.h, math_inl.h and gelu_inl.h.

Prints their f32 coefficients and errors.

Each is the minimax polynomial of a function's relative error with its leading coefficients fixed,
by Lawson's iteration (weighted least squares whose weights grow where the error is large). The free
coefficients are rounded to f32 one by one, each time fitting those behind it anew; the neighbours of
the first three are tried too. Errors are those of the polynomial alone, before f32 evaluation.
"""

import math
import struct

POINTS = 600
EXACT_ITERATIONS, TRIAL_ITERATIONS = 300, 60


def next_f32(x, steps):
    """The f32 nearest to x, or the one `steps` beyond it."""
    bits = struct.unpack("<i", struct.pack("<f", x))[0]
    return struct.unpack("<f", struct.pack("<i", bits + steps))[0]


def solve(matrix, rhs):
    """Gauss-Jordan elimination with row pivots."""
    rows = [row + [y] for row, y in zip(matrix, rhs)]
    n = len(rows)
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(n):
            if r != i:
                factor = rows[r][i] / rows[i][i]
                rows[r] = [x - factor * y for x, y in zip(rows[r], rows[i])]
    return [rows[i][n] / rows[i][i] for i in range(n)]


class Target:
    """function(x) ~ sum_i c_i x^i on [low, high], c_0.. = fixed; error relative to function(x)."""

    def __init__(self, name, function, low, high, degree, fixed):
        self.name, self.degree, self.fixed = name, degree, fixed
        middle, half = (low + high) / 2, (high - low) / 2
        angles = [math.pi * k / POINTS for k in range(POINTS + 1)]
        self.x = [middle + half * math.cos(a) for a in angles]
        self.x = [x for x in self.x if abs(x) > 1e-4 * half]
        self.y = [function(x) for x in self.x]
        self.half = half

    def residuals(self, known):
        """(function - polynomial of the known coefficients) / function, at every point."""
        values = [sum(c * x**i for i, c in enumerate(known)) for x in self.x]
        return [(y - v) / y for y, v in zip(self.y, values)]

    def fit(self, known, iterations):
        """Minimax coefficients behind the known ones."""
        powers = range(len(known), self.degree + 1)
        rows = [[(x / self.half) ** i / y for i in powers] for x, y in zip(self.x, self.y)]
        rhs = self.residuals(known)
        weights = [1.0] * len(rows)
        for _ in range(iterations):
            matrix = [
                [sum(w * r[i] * r[j] for w, r in zip(weights, rows)) for j in range(len(powers))]
                for i in range(len(powers))
            ]
            vector = [sum(w * r[i] * b for w, r, b in zip(weights, rows, rhs)) for i in range(len(powers))]
            scaled = solve(matrix, vector)
            errors = [abs(sum(s * v for s, v in zip(scaled, r)) - b) for r, b in zip(rows, rhs)]
            weights = [w * e for w, e in zip(weights, errors)]
            mean = sum(weights) / len(weights)
            weights = [max(w / mean, 1e-12) for w in weights]
        return [s / self.half**i for s, i in zip(scaled, powers)]

    def error(self, coefficients):
        return max(abs(e) for e in self.residuals(coefficients))

    def rounded(self, known, free):
        """Best (error, coefficients) with f32 coefficients behind the known ones."""
        if len(known) > self.degree:
            return self.error(known), known
        first = self.fit(known, TRIAL_ITERATIONS)[0]
        steps = (-1, 0, 1) if free > 0 else (0,)
        return min(self.rounded(known + [next_f32(first, s)], free - 1) for s in steps)




def normal_tail(v):
    """Q(t) e^(t^2/2) (t + 5/2) at v = (t - 5/2) / (t + 5/2), Q(t) = erfc(t / sqrt 2) / 2."""
    t = 2.5 * (1 + v) / (1 - v)
    return 0.5 * math.erfc(t / math.sqrt(2)) * math.exp(t * t / 2) * (t + 2.5)


HALF_LN2 = math.log(2) / 2
TARGETS = [
    Target("2^f, exp2_poly.h", lambda f: 2.0**f, -0.5, 0.5, 5, [1.0]),
    Target("2^f, math_inl.h", lambda f: 2.0**f, -0.5, 0.5, 6, [1.0]),
    Target("e^r", math.exp, -HALF_LN2, HALF_LN2, 6, [1.0, 1.0]),
    Target("ln(1 + u)", math.log1p, math.sqrt(0.5) - 1, math.sqrt(2) - 1, 11, [0.0, 1.0, -0.5]),
    Target("tanh(x) / x in x^2", lambda z: math.tanh(math.sqrt(z)) / math.sqrt(z), 0.0, 0.36, 5, [1.0]),
    Target("tail of the normal distribution", normal_tail, -1.0, 0.7075, 9, []),
]

if __name__ == "__main__":
    for target in TARGETS:
        best = target.error(target.fixed + target.fit(target.fixed, EXACT_ITERATIONS))
        error, coefficients = target.rounded(target.fixed, 3)
        print(f"{target.name}: relative error {error:.3e} (unrounded coefficients {best:.3e})")
        for power, c in enumerate(coefficients):
            if power >= len(target.fixed):
                mantissa, exponent = c.hex().split("p")
                print(f"  C{power} = {mantissa[:-7]}p{exponent}f")

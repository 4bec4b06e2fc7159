#!/usr/bin/env python3
"""Shows measurements in docs/: the roofline and the table of performance.md.

    bench/roofline.py bench/results/best.json bench/results/avx2.json

Each file is what `rapt bench --json` printed: first that of the best instruction set, which is
drawn; then others for the rows of the table that name theirs.
"""

import json
import math
import pathlib
import re
import sys
from html import escape

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"

# What is wanted of a case: (row of the table, case, instruction set, share). Where the row speaks of
# threads, the share is that of the ceiling's own scaling.
BEST, AVX2, THREADS = "", "avx2", "threads"
WANTED = [
    ("prefill f32, causal, D 128, T 4096, 8 heads", "prefill/f32/causal/d128/t4096/h8", BEST, 89),
    ("the same, dense", "prefill/f32/dense/d128/t4096/h8", BEST, 91),
    ("the same, causal, D 64", "prefill/f32/causal/d64/t4096/h8", BEST, 86),
    ("the same, causal, 32 heads over 8, T 2048", "prefill/f32/causal/d128/t2048/h32x8", BEST, 88),
    ("chunk of 512 rows against 8k keys", "chunk512/f32/causal/d128/t8192/h8", BEST, 87),
    ("causal, D 128: all threads over one", "prefill/f32/causal/d128/t4096/h8", THREADS, 95),
    ("causal, D 128: AVX2", "prefill/f32/causal/d128/t4096/h8", AVX2, 88),
    ("decode f32, 64k keys, 8 heads over 8", "decode/f32/mha/d128/t65536", BEST, 97),
    ("the same, 32 heads over 8", "decode/f32/gqa32x8/d128/t65536", BEST, 92),
    ("the same, 8 heads over 1", "decode/f32/mqa8x1/d128/t65536", BEST, 86),
    ("decode f32, 4k keys, 8 heads over 8", "decode/f32/mha/d128/t4096", BEST, 93),
    ("the same, 32 heads over 8", "decode/f32/gqa32x8/d128/t4096", BEST, 89),
    ("linear f32, 1024 x 4096 x 4096", "linear/f32/1024x4096x4096", BEST, 88),
    ("linear f32, one token, 4096 x 4096", "linear/f32/1x4096x4096", BEST, 90),
    ("prefill bf16, causal, D 128, T 4096, 8 heads", "prefill/bf16/causal/d128/t4096/h8", BEST, 86),
    ("decode bf16, 64k keys, 8 heads over 8", "decode/bf16/mha/d128/t65536", BEST, 95),
    ("the same, 32 heads over 8", "decode/bf16/gqa32x8/d128/t65536", BEST, 86),
    ("the same, 8 heads over 1", "decode/bf16/mqa8x1/d128/t65536", BEST, 82),
    ("decode f16, 64k keys, 8 heads over 8", "decode/f16/mha/d128/t65536", BEST, 90),
    ("the same, 32 heads over 8", "decode/f16/gqa32x8/d128/t65536", BEST, 86),
    ("linear bf16, one token, 4096 x 4096", "linear/bf16/1x4096x4096", BEST, 90),
    ("the same, int8", "linear/int8/1x4096x4096", BEST, 85),
    ("native bf16, causal, D 128", "prefill/native-bf16/causal/d128/t4096/h8", BEST, 83),
    ("native bf16, causal, D 64", "prefill/native-bf16/causal/d64/t4096/h8", BEST, 75),
    ("linear native bf16, 1024 x 4096 x 4096", "linear/native-bf16/1024x4096x4096", BEST, 80),
]
LIMITS = {"fma": "FMA peak", "read": "read bandwidth"}


def on_one_thread(run):
    return [case for case in run["cases"] if case["threads"] == 1]


def time_text(seconds):
    for unit, scale in [("s", 1), ("ms", 1e3)]:
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


# --- The table


def find(runs, name, which):
    """The case that a row means: of the first run, or of that of an instruction set."""
    for run in runs:
        if which in (BEST, THREADS, run["machine"]["isa"]):
            for case in run["cases"]:
                if case["name"] == name and (case["scaling"] is not None) == (which == THREADS):
                    return case
    sys.exit(f"{name}: expected a measurement {which}, got none")


def row(text, wanted, case, scales=False):
    wanted = f"{wanted}%" if wanted else ""
    measured = case["scaling" if scales else "share"]
    limit = "the ceiling's scaling" if scales else LIMITS[case["limit"]]
    at_clock = f"{100 * measured / case['clock']:.0f}%" if limit == LIMITS["fma"] else ""
    return f"| {text} | {wanted} | {100 * measured:.0f}% | {at_clock} | {limit} | {time_text(case['seconds'])} |"


def table(runs):
    """The table of performance.md, in Markdown."""
    lines = ["| case | wanted | measured | at its clock | of | time |", "|---|---|---|---|---|---|"]
    for text, name, which, wanted in WANTED:
        lines.append(row(text, wanted, find(runs, name, which), which == THREADS))
    shown = {name for _, name, _, _ in WANTED}
    for case in on_one_thread(runs[0]):
        if case["name"] not in shown:
            lines.append(row(f"`{case['name']}`", None, case))
    return "\n".join(lines) + "\n"


def ceilings(runs):
    """The ceilings beneath it."""
    lines = ["| kernels | threads | FMA, GFLOP/s | 2^x, G/s | read, GB/s |", "|---|---|---|---|---|"]
    for run in runs:
        for c in run["ceilings"]:
            lines.append(
                f"| {run['machine']['isa']} | {c['threads']} | {c['fma_gflops']:.0f} "
                f"| {c['exp_gelements']:.1f} | {c['read_gbps']:.1f} |"
            )
    return "\n".join(lines) + "\n"


# What the guide's page of 5.3 shows: its text, and the case.
COSTS = [
    ("prefill, causal, T 4096", "prefill/f32/causal/d128/t4096/h8"),
    ("the last 512 rows of 8k", "chunk512/f32/causal/d128/t8192/h8"),
    ("decode, 64k keys", "decode/f32/mha/d128/t65536"),
    ("the same, 32 heads over 8", "decode/f32/gqa32x8/d128/t65536"),
    ("the same, 8 heads over 1", "decode/f32/mqa8x1/d128/t65536"),
    ("decode, 64k keys in bf16", "decode/bf16/mha/d128/t65536"),
]


def costs(runs):
    """Time, work and what binds, in Markdown."""
    lines = ["| call | time | Mflop | MB | flop/byte | bound by | share of it |", "|---|---|---|---|---|---|---|"]
    for text, name in COSTS:
        c = find(runs, name, BEST)
        lines.append(
            f"| {text} | {time_text(c['seconds'])} | {c['flops'] / 1e6:.0f} | {c['bytes'] / 1e6:.0f} "
            f"| {c['flops'] / c['bytes']:.3g} | {LIMITS[c['limit']]} | {100 * c['share']:.0f}% |"
        )
    return "\n".join(lines) + "\n"


def machine(run):
    m = run["machine"]
    l2, l3 = (m["caches"][level] >> 10 for level in ("l2_bytes", "l3_bytes"))
    return f"{m['cpu']}, {m['cores']} cores, L2 {l2} KiB, L3 {l3 >> 10} MiB; {m['compiler']}.\n"


def between_markers(page, name, text):
    """The page with what stands between its markers of that name written anew."""
    between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->\n)", re.S)
    page, count = between.subn(lambda m: m[1] + text + m[2], page)
    if count != 1:
        sys.exit(f"expected one place for the {name}, got {count}")
    return page


def with_measurements(page, runs):
    """performance.md with these measurements."""
    runs = list({run["machine"]["isa"]: run for run in reversed(runs)}.values())[::-1]  # AVX2 may be the best
    page = between_markers(page, "machine", machine(runs[0]))
    page = between_markers(page, "table", table(runs))
    return between_markers(page, "ceilings", ceilings(runs))


def with_costs(page, runs):
    """The guide's page with these measurements."""
    return between_markers(between_markers(page, "machine", machine(runs[0])), "costs", costs(runs))


# --- The picture

LEFT, TOP, WIDTH, HEIGHT, KEY_WIDTH, MARGIN = 48, 34, 520, 400, 318, 44
INTENSITIES = (0.25, 8192)  # flops a byte, left and right
COLOURS = {"prefill": "#2563ab", "chunk512": "#2563ab", "decode": "#c2570c", "small": "#c2570c", "linear": "#1b7f4b"}
NUMBER_BOX = (13, 11)


def colour_of(case):
    return COLOURS[case["name"].split("/")[0]]


def gflops_of(case):
    return case["flops"] / case["seconds"] / 1e9


class Frame:
    """Logarithmic axes around the roofs and points of a run."""

    def __init__(self, run):
        self.cases = on_one_thread(run)
        self.fma, self.read = (run["ceilings"][0][key] for key in ("fma_gflops", "read_gbps"))
        self.bottom = math.floor(math.log2(min(map(gflops_of, self.cases)))) - 1
        self.top = math.ceil(math.log2(self.fma)) + 1

    def x(self, intensity):
        return LEFT + WIDTH * math.log(intensity / INTENSITIES[0], INTENSITIES[1] / INTENSITIES[0])

    def y(self, gflops):
        return TOP + HEIGHT * (self.top - math.log2(gflops)) / (self.top - self.bottom)

    def roof(self, x):
        """The height of the roofs above `x`."""
        intensity = INTENSITIES[0] * (INTENSITIES[1] / INTENSITIES[0]) ** ((x - LEFT) / WIDTH)
        return self.y(min(self.fma, self.read * intensity))

    def axes(self):
        for n in range(-2, 14):
            x, label = self.x(2.0**n), f"1/{2**-n}" if n < 0 else str(2**n)
            yield f'<path d="M{x:.1f} {TOP}v{HEIGHT}" stroke="#eee"/>'
            if n % 2 == 0:
                yield f'<text x="{x:.1f}" y="{TOP + HEIGHT + 15}" text-anchor="middle">{label}</text>'
        for n in range(self.bottom, self.top + 1):
            y = self.y(2.0**n)
            yield f'<path d="M{LEFT} {y:.1f}h{WIDTH}" stroke="#eee"/>'
            yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{2.0**n:g}</text>'
        middle = LEFT + WIDTH / 2
        yield f'<text x="{middle}" y="{TOP + HEIGHT + 32}" text-anchor="middle">useful flops a byte of memory</text>'
        yield f'<text x="{LEFT - 34}" y="{TOP - 14}">GFLOP/s</text>'

    def roofs(self):
        low = max(INTENSITIES[0], 2.0**self.bottom / self.read)
        x0, y0 = self.x(low), self.y(low * self.read)
        x, y = self.x(self.fma / self.read), self.y(self.fma)
        yield (
            f'<path d="M{x0:.1f} {y0:.1f}L{x:.1f} {y:.1f}H{LEFT + WIDTH}" '
            f'fill="none" stroke="#111" stroke-width="1.5"/>'
        )
        yield (
            f'<text x="{LEFT + WIDTH}" y="{y - 7:.1f}" text-anchor="end" class="title">'
            f"FMA {self.fma:.0f} GFLOP/s</text>"
        )
        angle = math.degrees(math.atan2(y - y0, x - x0))
        yield (
            f'<text transform="translate({(x0 + x) / 2:.1f} {(y0 + y) / 2:.1f}) rotate({angle:.1f})" y="-7" '
            f'text-anchor="middle" class="title">read {self.read:.1f} GB/s</text>'
        )

    def place(self, x, y, taken):
        """Where the number of a point has room: the nearest of some places around it."""
        w, h = NUMBER_BOX
        for radius in range(12, 120, 4):
            for turn in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6):  # twelfths, from straight below
                angle = math.pi * (3 + turn) / 6
                u, v = x + radius * math.cos(angle), y + radius * math.sin(angle)
                free = all(abs(u - a) > (w + c) / 2 or abs(v - b) > (h + d) / 2 for a, b, c, d in taken)
                if free and v - h / 2 > self.roof(u - w / 2):
                    taken.append((u, v, w, h))
                    return u, v
        return x, y

    def points(self):
        at = []
        for case in self.cases:
            intensity = case["flops"] / case["bytes"] if case["bytes"] else INTENSITIES[1]
            at.append((self.x(intensity), self.y(gflops_of(case))))
        taken = [(x, y, 9, 9) for x, y in at]
        for n, (case, (x, y)) in enumerate(zip(self.cases, at), 1):
            u, v = self.place(x, y, taken)
            yield f'<g fill="{colour_of(case)}"><circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
            yield f'<path d="M{x:.1f} {y:.1f}L{u:.1f} {v:.1f}" stroke="{colour_of(case)}" stroke-width="0.6"/>'
            yield f'<rect x="{u - 6.5:.1f}" y="{v - 5.5:.1f}" width="13" height="11" fill="#fff"/>'
            yield f'<text x="{u:.1f}" y="{v + 4:.1f}" text-anchor="middle">{n}</text></g>'

    def key(self):
        left = LEFT + WIDTH + 26
        for n, case in enumerate(self.cases, 1):
            y = TOP + 20 * n - 8
            yield f'<text x="{left + 14}" y="{y}" text-anchor="end" fill="{colour_of(case)}" class="title">{n}</text>'
            yield f'<text x="{left + 22}" y="{y}">{escape(case["name"])}</text>'
            yield f'<text x="{left + KEY_WIDTH - 34}" y="{y}" text-anchor="end">{100 * case["share"]:.0f}%</text>'


def svg(run):
    """The roofline of one thread; a case whose operands stay in the caches stands at the right edge."""
    frame = Frame(run)
    width, height = LEFT + WIDTH + KEY_WIDTH + 12, TOP + max(HEIGHT, 20 * len(frame.cases)) + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="11" fill="#444">',
        "<style>.title{font-weight:bold}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        *frame.axes(),
        *frame.roofs(),
        *frame.points(),
        *frame.key(),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def main(files):
    runs = [json.loads(pathlib.Path(file).read_text()) for file in files]
    (DOCS / "roofline.svg").write_text(svg(runs[0]))
    page = DOCS / "performance.md"
    page.write_text(with_measurements(page.read_text(), runs))
    page = DOCS / "guide" / "5_3_prefill_and_decode.md"
    page.write_text(with_costs(page.read_text(), runs))


if __name__ == "__main__":
    main(sys.argv[1:])

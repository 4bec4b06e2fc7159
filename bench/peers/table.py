#!/usr/bin/env python3
"""Shows what compare.py found in docs/: the tables of performance.md, and peers.svg.

`bench/peers/table.py bench/results/peers.json`
"""

import json
import pathlib
import re
import sys
from html import escape

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"

TITLES = {
    "prefill/f32/causal/d128/t4096/h8": "prefill f32",
    "prefill/bf16/causal/d128/t4096/h8": "prefill bf16",
    "prefill/f32/window256/d128/t4096/h8": "window 256",
    "decode/f32/gqa32x8/d128/t65536": "decode f32",
    "decode/bf16/gqa32x8/d128/t65536": "decode bf16",
    "decode/f32/mha/d128/t4096": "decode 4k",
    "small/f32/causal/d64/t128/h8": "small call",
}
OURS, AS_ROWS = "rapt", "group as rows"


def share(case, found):
    """Time that the ceilings around it would need, over the time that it took."""
    seconds, ceilings = found["seconds"], found["ceilings"]
    # What was reached can be: the peak is never below a case's own rate.
    fma = max(ceilings["fma"], case["flops"] / seconds)
    needed = case["flops"] / fma
    if case["bytes"]:
        needed = max(needed, case["bytes"] / ceilings["read"])
    return needed / seconds


def timed(case, wanted=lambda name: True):
    """{name: what was found} of the implementations of a case that ran."""
    return {
        name: found
        for name, found in case["implementations"].items()
        if "seconds" in found and "failure" not in found and wanted(name)
    }


def is_ours(name):
    return name.startswith(OURS)


def names_in(run):
    """Every implementation, ours first, each where it is first seen."""
    names = dict.fromkeys(name for case in run["cases"] for name in case["implementations"])
    return sorted(names, key=lambda name: not is_ours(name))


# --- Tables


def number(x, digits):
    """So many digits, and no exponent."""
    return f"{x:.0f}" if x >= 10 ** (digits - 1) else f"{x:.{digits}g}"


def quantity(value, units):
    """Three digits, in the first of [(unit, size)] that is not too large."""
    unit, size = next(((u, s) for u, s in units if value >= s), units[-1])
    return f"{number(value / size, 3)} {unit}"


def percent(part):
    return f"{number(100 * part, 2)}%"


def seconds_text(seconds):
    return quantity(seconds, [("s", 1), ("ms", 1e-3), ("µs", 1e-6)])


def bytes_text(size):
    return quantity(size, [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)])


def speed_cell(case, found):
    return f"{seconds_text(found['seconds'])}, {percent(share(case, found))}"


def memory_cell(_, found):
    return bytes_text(found["memory_bytes"])


def error_cell(_, found):
    return f"{found['error'] / found['largest']:.1e}"


def best_peer(case, as_rows):
    """(name, seconds) of the fastest peer, or None."""
    peers = timed(case, lambda name: not is_ours(name) and (as_rows or AS_ROWS not in name))
    return min(((found["seconds"], name) for name, found in peers.items()), default=None)


def ratio_cells(run, name, as_rows):
    """How often faster than the fastest peer an implementation of ours is, a cell a case."""
    for case in run["cases"]:
        ours, best = timed(case).get(name), best_peer(case, as_rows)
        yield f"{number(best[0] / ours['seconds'], 3)}x" if ours and best else ""


def lines_of(run, first, rows):
    titles = [first] + [TITLES[case["name"]] for case in run["cases"]]
    for cells in [titles, ["---"] * len(titles), *rows]:
        yield "| " + " | ".join(cells) + " |"


def cells(run, name, text, notes):
    """A row: what `text` makes of each case, or the number of the note that says why not."""
    yield name
    for case in run["cases"]:
        found = case["implementations"].get(name)
        fields = ("failure", "memory_failure") if text is memory_cell else ("failure",)
        why_not = next((found[f] for f in fields if found and f in found), None)
        if why_not:
            yield f"({notes.setdefault(why_not, len(notes) + 1)})"
        else:
            yield text(case, found) if found else ""


def speed_table(run, notes):
    rows = [cells(run, name, speed_cell, notes) for name in names_in(run)]
    for as_rows, label in ((False, "the best peer"), (True, f"the best peer, {AS_ROWS}")):
        for name in filter(is_ours, names_in(run)):
            ratios = list(ratio_cells(run, name, as_rows))
            if any(ratios):
                rows.append([f"*{name}*, over {label}", *ratios])
    return lines_of(run, f"{run['threads']} thread(s)", rows)


def tables(results):
    """All of it, in Markdown."""
    notes, parts = {}, []
    for run in results["runs"]:
        parts.append(speed_table(run, notes))
    first = results["runs"][0]
    for title, text in (("working memory", memory_cell), ("error", error_cell)):
        rows = [cells(first, name, text, notes) for name in names_in(first)]
        parts.append(lines_of(first, title, rows))
    text = "\n\n".join("\n".join(part) for part in parts)
    reasons = "".join(f"({number}) {reason}.  \n" for reason, number in notes.items())
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    missing = "".join(f"Missing: {name}: {why}.  \n" for name, why in results["missing"].items())
    machine = f"{results['machine']['cpu']}, {results['machine']['cores']} cores; {versions}."
    picture = "![Shares of the ceilings](peers.svg)"
    return f"{machine}\n\n{text}\n\n{reasons}{missing}\n{picture}\n"


def with_tables(page, results):
    """The page with what stands between its markers written anew."""
    between = re.compile(r"(<!-- peers -->\n).*?(<!-- end -->\n)", re.S)
    page, count = between.subn(lambda m: m[1] + tables(results) + m[2], page)
    if count != 1:
        sys.exit(f"performance.md: expected one place for the peers, got {count}")
    return page


# --- The picture

LABEL_WIDTH, BAR_WIDTH, NUMBER_WIDTH, LINE, HEAD = 224, 300, 120, 17, 30
COLUMNS = 2


def panel(case):
    """A bar an implementation, its length the share of the ceiling, the fastest first."""
    yield f'<text y="14" class="title">{escape(TITLES[case["name"]])}</text>'
    found = sorted(timed(case).items(), key=lambda item: item[1]["seconds"])
    for n, (name, one) in enumerate(found):
        y, part = HEAD + LINE * n, min(1.0, share(case, one))
        colour = "#2563ab" if is_ours(name) else "#b9b9b9"
        yield f'<text x="{LABEL_WIDTH - 8}" y="{y + 9}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect x="{LABEL_WIDTH}" y="{y}" width="{BAR_WIDTH}" height="11" fill="#f2f2f2"/>'
        width = BAR_WIDTH * part
        yield f'<rect x="{LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="11" fill="{colour}"/>'
        label = f"{percent(part)}, {seconds_text(one['seconds'])}"
        yield f'<text x="{LABEL_WIDTH + BAR_WIDTH + 6}" y="{y + 9}">{label}</text>'


def svg(run):
    """A panel a case: shares of the ceiling, on the first run's threads."""
    panels = [list(panel(case)) for case in run["cases"]]
    bars = max(len(timed(case)) for case in run["cases"])
    width, height = LABEL_WIDTH + BAR_WIDTH + NUMBER_WIDTH, HEAD + LINE * bars + 20
    total = (COLUMNS * width, -(-len(panels) // COLUMNS) * height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -6 {total[0] + 20} {total[1] + 6}" '
        f'width="{total[0] + 20}" height="{total[1] + 6}" '
        f'font-family="sans-serif" font-size="11" fill="#444">',
        "<style>.title{font-weight:bold}</style>",
        '<rect x="-10" y="-6" width="100%" height="100%" fill="#fff"/>',
    ]
    for n, drawn in enumerate(panels):
        x, y = n % COLUMNS * width, n // COLUMNS * height
        lines += [f'<g transform="translate({x} {y})">', *drawn, "</g>"]
    return "\n".join([*lines, "</svg>"]) + "\n"


def main(file):
    results = json.loads(pathlib.Path(file).read_text())
    (DOCS / "peers.svg").write_text(svg(results["runs"][0]))
    page = DOCS / "performance.md"
    page.write_text(with_tables(page.read_text(), results))


if __name__ == "__main__":
    main(sys.argv[1])

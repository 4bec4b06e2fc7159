#!/usr/bin/env python3
"""Draws the masks that an example prints: one SVG, a panel a mask.

    build/release/bin/example_5_1_masks | docs/guide/make_pictures.py > docs/guide/masks.svg
    build/release/bin/example_6_4_sparse_attention | docs/guide/make_pictures.py > docs/guide/sparse.svg

A picture in the text is a title line, "TITLE: MASK, N of M pairs", an empty line, and the lines that
Mask::draw gives: a query a line, a key a column.
"""

import re
import sys
from html import escape

PICTURE = re.compile(r"^(.+?): .*, (\d+ of \d+ pairs)\n\n((?:    [#.+ ]+\n)+)", re.M)
CELL = 11
PANEL_WIDTH, MARGIN, HEADER = 224, 14, 38
COLUMNS = 3
FILL = {"#": "#2563ab", "+": "#93b7dc", ".": "#e4e7eb"}


def pictures(text):
    """(title, pairs, rows of cells) of every mask in the text."""
    found = PICTURE.findall(text)
    return [(t, pairs, [line.split() for line in drawn.splitlines()]) for t, pairs, drawn in found]


def panel(title, pairs, rows):
    """SVG lines of a panel whose corner is at 0, 0."""
    yield f'<text y="13" class="title">{escape(title)}</text>'
    yield f'<text y="28">{escape(pairs)}</text>'
    for kind, fill in FILL.items():
        squares = [
            f"M{x * CELL} {HEADER + y * CELL}h{CELL - 1}v{CELL - 1}h{1 - CELL}z"
            for y, row in enumerate(rows)
            for x, cell in enumerate(row)
            if cell == kind
        ]
        if squares:
            yield f'<path fill="{fill}" d="{"".join(squares)}"/>'


def draw(panels):
    """The SVG of all panels, row by row."""
    bands = [panels[n : n + COLUMNS] for n in range(0, len(panels), COLUMNS)]
    heights = [HEADER + CELL * max(len(rows) for _, _, rows in band) + MARGIN for band in bands]
    width, height = COLUMNS * PANEL_WIDTH + MARGIN, sum(heights) + MARGIN
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="11" fill="#444">'
    )
    yield "<style>.title{font-weight:bold;fill:#111}</style>"
    yield '<rect width="100%" height="100%" fill="#fff"/>'
    top = MARGIN
    for band, band_height in zip(bands, heights):
        for column, one in enumerate(band):
            yield f'<g transform="translate({MARGIN + column * PANEL_WIDTH} {top})">'
            yield from panel(*one)
            yield "</g>"
        top += band_height
    yield "</svg>"


def svg(text):
    """The SVG of the masks in the text of an example."""
    return "\n".join(draw(pictures(text))) + "\n"


if __name__ == "__main__":
    sys.stdout.write(svg(sys.stdin.read()))

#!/usr/bin/env python3
"""README's C is C that is compiled and run: readme_test.py SOURCE_DIR.

Each ```c block of README.md is a run of lines of examples/c_attention.c, but for indentation.
"""

import pathlib
import re
import sys
import unittest


def lines_of(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


def is_part(block, program):
    """Whether the lines of `block` follow each other in `program`; "..." skips some."""
    at = 0
    for piece in block.split("...\n"):
        piece = lines_of(piece)
        starts = [n for n in range(at, len(program) - len(piece) + 1)
                  if program[n:n + len(piece)] == piece]
        if not starts:
            return False
        at = starts[0] + len(piece)
    return True


class Readme(unittest.TestCase):
    root = pathlib.Path(".")

    def test_blocks_are_of_the_example(self):
        program = lines_of((self.root / "examples/c_attention.c").read_text())
        blocks = re.findall(r"^```c\n(.*?)^```$", (self.root / "README.md").read_text(), re.M | re.S)
        self.assertGreaterEqual(len(blocks), 1)
        for block in blocks:
            self.assertTrue(is_part(block, program), block)

    def test_a_changed_line_is_found(self):
        program = ["a;", "b;", "c;", "d;"]
        self.assertTrue(is_part("  a;\n  b;\n...\nd;\n", program))
        self.assertFalse(is_part("a;\nc;\n", program))
        self.assertFalse(is_part("b;\n...\na;\n", program))


if __name__ == "__main__":
    Readme.root = pathlib.Path(sys.argv.pop(1))
    unittest.main()

#!/usr/bin/env python3
"""The guide shows what the examples print: guide_test.py SOURCE_DIR BINARY_DIR.

A block of a page that begins with a command, "$ build/release/bin/example_...", holds lines of what
it prints, in their order; its pictures are drawn from the same. The tables of 4_5_grouped_query.md
are those of the script beside it.
"""

import functools
import pathlib
import re
import subprocess
import sys
import unittest

BLOCK = re.compile(r"^```console\n\$ build/release/bin/(\S+)\n(.*?)^```$", re.M | re.S)
PICTURES = {"masks": "example_5_1_masks", "sparse": "example_6_4_sparse_attention"}


def missing(block, output):
    """Lines of the block that do not come in the output, after the lines before them."""
    lines = iter(output.splitlines())
    return [line for line in block.splitlines() if line and line not in lines]


class Guide(unittest.TestCase):
    root = pathlib.Path(".")
    binaries = pathlib.Path(".")

    @classmethod
    @functools.cache
    def output(cls, program):
        run = subprocess.run([cls.binaries / program], cwd=cls.root, capture_output=True, text=True)
        return run.stdout

    def test_blocks(self):
        count = 0
        for page in sorted((self.root / "docs" / "guide").glob("*.md")):
            for program, block in BLOCK.findall(page.read_text()):
                with self.subTest(page=page.name, program=program):
                    self.assertEqual(missing(block, self.output(program)), [])
                    count += 1
        self.assertGreater(count, 5)

    def test_pictures(self):
        folder = self.root / "docs" / "guide"
        for name, program in PICTURES.items():
            with self.subTest(name=name):
                command = [sys.executable, folder / "make_pictures.py"]
                text = self.output(program)
                drawn = subprocess.run(command, input=text, capture_output=True, text=True)
                self.assertEqual(drawn.stdout, (folder / f"{name}.svg").read_text())

    def test_tables_of_heads(self):
        script = self.root / "docs/guide/grouped_query.py"
        command = [sys.executable, script, self.binaries / "rapt", "models/default", "LICENSE"]
        printed = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True).stdout
        rows = [line for line in printed.splitlines() if line.startswith("|")]
        self.assertEqual(len(rows), 9)
        page = (self.root / "docs/guide/4_5_grouped_query.md").read_text()
        self.assertEqual(missing("\n".join(rows), page), [])

    def test_other_lines_and_orders_are_found(self):
        self.assertEqual(missing("a\nc\n", "a\nb\nc\n"), [])
        self.assertEqual(missing("a 51%\n", "a 50%\n"), ["a 51%"])
        self.assertEqual(missing("c\na\n", "a\nb\nc\n"), ["a"])


if __name__ == "__main__":
    Guide.binaries = pathlib.Path(sys.argv.pop(2))
    Guide.root = pathlib.Path(sys.argv.pop(1))
    unittest.main()

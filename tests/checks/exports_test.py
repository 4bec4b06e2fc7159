#!/usr/bin/env python3
"""A shared library exports its own names alone: exports_test.py SOURCE_DIR NM LIBRARY.

The C functions are those that rapt.h declares, each of them; a C++ symbol is of namespace rapt.
"""

import pathlib
import re
import subprocess
import sys
import unittest


class Exports(unittest.TestCase):
    root = nm = library = ""

    def setUp(self):
        listing = subprocess.run([self.nm, "-D", "-C", "--defined-only", self.library], check=True,
                                 capture_output=True, text=True).stdout
        self.symbols = [line.split(maxsplit=2)[2] for line in listing.splitlines()]
        self.c = {symbol for symbol in self.symbols if re.match(r"\w+$", symbol)}

    def test_c(self):
        header = (self.root / "include/rapt/rapt.h").read_text()
        declared = set(re.findall(r"^RAPT_API [^;(]*?(rapt_\w+)\(", header, re.M))
        self.assertGreater(len(declared), 50)
        self.assertEqual(self.c, declared)

    def test_cpp(self):
        cpp = set(self.symbols) - self.c
        self.assertTrue(any(symbol.startswith("rapt::run(rapt::Plan const&") for symbol in cpp))
        own = re.compile(r"((typeinfo( name)?|vtable) for )?rapt::")
        self.assertEqual([symbol for symbol in cpp if not own.match(symbol)], [])


if __name__ == "__main__":
    Exports.root, Exports.nm, Exports.library = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    unittest.main(argv=sys.argv[:1])

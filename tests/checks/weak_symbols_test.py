#!/usr/bin/env python3
"""No weak symbol leaves a kernel object: weak_symbols_test.py NM COMPILER OBJECT...

The linker keeps one definition of a weak symbol for the whole program. If it comes from an object
compiled for AVX-512, a CPU without it dies in code that has nothing to do with kernels.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ISA_OBJECT = re.compile(r"/(scalar|neon|avx2|avx512|avx512bf16)\.cc\.o$")


def weak_symbols(nm, objects):
    """Lines of nm for the weak and unique symbols that `objects` define.

    DW.ref.* is no code but a pointer, the same in every object with exception tables.
    """
    listing = subprocess.run([nm, "-A", "-C", "--defined-only", *objects], check=True,
                             capture_output=True, text=True).stdout
    return [line for line in listing.splitlines() if re.search(r":[0-9a-f]+ [WwVvu] (?!DW\.ref\.)", line)]


class WeakSymbols(unittest.TestCase):
    nm = compiler = ""
    objects = []

    def test_kernel_objects(self):
        self.assertGreaterEqual(len(self.objects), 2)
        self.assertEqual(weak_symbols(self.nm, self.objects), [])

    def test_a_weak_symbol_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            source, built = pathlib.Path(folder) / "planted.cc", f"{folder}/planted.o"
            source.write_text("inline int planted() { return 1; }\nint (*use)() = planted;\n")
            subprocess.run([self.compiler, "-c", source, "-o", built], check=True)
            self.assertEqual(len(weak_symbols(self.nm, [built])), 1)


if __name__ == "__main__":
    WeakSymbols.nm, WeakSymbols.compiler = sys.argv[1:3]
    WeakSymbols.objects = [path for path in sys.argv[3:] if ISA_OBJECT.search(path)]
    unittest.main(argv=sys.argv[:1])

#!/usr/bin/env python3
"""The cases and tables of bench/peers: table_test.py SOURCE_DIR RAPT CEILINGS."""

import ctypes
import json
import pathlib
import subprocess
import sys
import unittest

ROOT, RAPT, CEILINGS = pathlib.Path("."), "rapt", "librapt_ceilings.so"
AROUND = {"fma": 100e9, "read": 10e9}


def found(seconds, error=1e-6):
    measured = {"seconds": seconds, "ceilings": AROUND, "memory_bytes": 3 << 20}
    return measured | {"error": error, "largest": 2.0}


def run():
    names = ("prefill/f32/causal/d128/t4096/h8", "decode/f32/gqa32x8/d128/t65536")
    refused = {"rapt, native bf16": {"failure": "no reason"}}
    first = refused | {
        "a": found(0.04),
        "rapt, tensors": found(0.02),
        "b": {"failure": "no reason"},
    }
    second = {"a": found(0.3), "a, group as rows": found(0.06), "rapt, tensors": found(0.02)}
    second["b"] = {**found(0.5), "memory_failure": "SIGABRT"}
    works = ({"flops": 1e9, "bytes": 1e6}, {"flops": 1e6, "bytes": 1e8})
    cases = [
        {"name": name, **work, "implementations": one}
        for name, work, one in zip(names, works, (first, second))
    ]
    return {"threads": 1, "ceilings": AROUND, "cases": cases}


class Peers(unittest.TestCase):
    def setUp(self):
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(ROOT / "bench/peers"))
        import cases
        import compare
        import table

        self.cases, self.compare, self.table = cases.CASES, compare, table

    def results(self):
        machine = {"cpu": "some CPU", "cores": 2}
        versions, missing = {"a": "1.2"}, {"c": "not here"}
        return {"machine": machine, "versions": versions, "missing": missing, "runs": [run()]}

    def test_cases_are_those_of_rapt_bench(self):
        listed = subprocess.check_output([RAPT, "bench", "--list"], text=True).split()
        self.assertLessEqual(set(self.cases), set(listed))
        measured = json.loads((ROOT / "bench/results/best.json").read_text())["cases"]
        for one in measured:
            if one["name"] in self.cases:
                case = self.cases[one["name"]]
                self.assertEqual((case.flops, case.bytes), (one["flops"], one["bytes"]))

    def test_ceilings_load(self):
        library = ctypes.CDLL(CEILINGS)
        library.rapt_fma_flops_now.restype = ctypes.c_double
        self.assertGreater(library.rapt_fma_flops_now(), 0)
        self.assertTrue(library.rapt_ceilings)

    def test_every_case_has_a_title(self):
        self.assertEqual(list(self.table.TITLES), list(self.cases))

    def test_tables(self):
        text = self.table.tables(self.results())
        for line in [
            "| rapt, tensors | 20 ms, 50% | 20 ms, 50% |",
            "| a | 40 ms, 25% | 300 ms, 3.3% |",
            "| b | (1) | 500 ms, 2% |",
            "| a, group as rows |  | 60 ms, 17% |",
            "| *rapt, tensors*, over the best peer | 2x | 15x |",
            "| *rapt, tensors*, over the best peer, group as rows | 2x | 3x |",
            "| a | 3 MiB | 3 MiB |",
            "| b | (1) | (2) |",
            "| a | 5.0e-07 | 5.0e-07 |",
            "(1) no reason.  ",
            "(2) SIGABRT.  ",
            "Missing: c: not here.  ",
            "some CPU, 2 cores; a 1.2.",
        ]:
            self.assertIn(line, text.splitlines())
        self.assertNotIn("*rapt, native bf16*", text)

    def test_numbers(self):
        texts = [self.table.percent(part) for part in (1, 0.996, 0.0996, 0.0123, 0.001)]
        self.assertEqual(texts, ["100%", "100%", "10%", "1.2%", "0.1%"])
        sizes = [self.table.bytes_text(size) for size in (0, 1 << 16, 1023 << 20, 3 << 29)]
        self.assertEqual(sizes, ["0 KiB", "64 KiB", "1023 MiB", "1.5 GiB"])

    def test_peak_is_what_was_reached(self):
        case = {"flops": 4e9, "bytes": 0}
        self.assertEqual(self.table.share(case, found(0.02)), 1)

    def test_bars_are_shares(self):
        drawn = self.table.svg(run())
        self.assertIn('<rect x="224" y="30" width="150.0" height="11" fill="#2563ab"/>', drawn)
        self.assertEqual(drawn.count('fill="#f2f2f2"'), 6)

    def test_page_has_a_place(self):
        page = (ROOT / "docs/performance.md").read_text()
        file = ROOT / "bench/results/peers.json"
        results = json.loads(file.read_text()) if file.exists() else self.results()
        self.assertEqual(self.table.with_tables(page, results) == page, file.exists())

    def test_more_cores_than_threads_are_a_failure(self):
        measuring = object.__new__(self.compare.Measuring)
        measuring.threads = 1
        repeat = {"seconds": 1.0, "cores": 1.9}
        kept = {"repeats": 0, "spent": 0}
        measuring.keep(kept, repeat, AROUND)
        self.assertEqual(kept["failure"], "kept 1.90 cores busy with 1 thread(s)")

    def test_the_fastest_repeat_counts(self):
        measuring = object.__new__(self.compare.Measuring)
        measuring.threads = 2
        kept = {"repeats": 0, "spent": 0}
        for seconds in (2.0, 1.0, 3.0):
            measuring.keep(kept, {"seconds": seconds, "cores": 1.9}, {"fma": seconds})
        self.assertEqual((kept["seconds"], kept["repeats"]), (1.0, 3))
        self.assertEqual(kept["ceilings"], {"fma": 1.0})


if __name__ == "__main__":
    CEILINGS = sys.argv.pop(3)
    RAPT = sys.argv.pop(2)
    ROOT = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()

#!/usr/bin/env python3
"""docs/performance.md shows what bench/results holds: performance_test.py SOURCE_DIR RAPT."""

import importlib.util
import itertools
import json
import pathlib
import re
import subprocess
import sys
import unittest

ROOT, RAPT = pathlib.Path("."), "rapt"


def load(path):
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_of(cases, isa="avx512"):
    """A run with ceilings of 100 GFLOP/s and 10 GB/s; cases are (name, threads, flops, bytes, seconds, scaling)."""
    ceilings = {"threads": 1, "fma_gflops": 100.0, "exp_gelements": 5.0, "read_gbps": 10.0}
    keys = ("name", "threads", "flops", "bytes", "seconds", "scaling")
    shown = [dict(zip(keys, case), share=0.5, limit="fma", clock=0.8) for case in cases]
    return {"machine": {"isa": isa}, "ceilings": [ceilings], "cases": shown}


class Performance(unittest.TestCase):
    def setUp(self):
        self.roofline = load(ROOT / "bench" / "roofline.py")

    def test_documents_show_the_results(self):
        runs = [json.loads((ROOT / f"bench/results/{name}.json").read_text()) for name in ("best", "avx2")]
        page = (ROOT / "docs/performance.md").read_text()
        self.assertEqual(self.roofline.with_measurements(page, runs), page)
        guide = (ROOT / "docs/guide/5_3_prefill_and_decode.md").read_text()
        self.assertEqual(self.roofline.with_costs(guide, runs), guide)
        self.assertEqual(self.roofline.svg(runs[0]), (ROOT / "docs/roofline.svg").read_text())

    def test_what_is_wanted_is_measured(self):
        listed = subprocess.run([RAPT, "bench", "--list"], capture_output=True, text=True, check=True).stdout.split()
        self.assertLessEqual({name for _, name, _, _ in self.roofline.WANTED}, set(listed))
        self.assertLessEqual({name for _, name in self.roofline.COSTS}, set(listed))

    def test_table(self):
        wanted = {name for _, name, _, _ in self.roofline.WANTED}
        best = [(name, 1, 1e9, 1e6, 0.02, None) for name in wanted] + [("small/x", 1, 1e5, 0, 5e-6, None)]
        best += [("prefill/f32/causal/d128/t4096/h8", 2, 1e9, 1e6, 0.01, 0.97)]
        avx2 = run_of([("prefill/f32/causal/d128/t4096/h8", 1, 1e9, 1e6, 1.5, None)], "avx2")
        table = self.roofline.table([run_of(best), avx2]).splitlines()
        self.assertEqual(len(table), 2 + len(self.roofline.WANTED) + 1)
        for line in [
            "| prefill f32, causal, D 128, T 4096, 8 heads | 89% | 50% | 62% | FMA peak | 20 ms |",
            "| causal, D 128: all threads over one | 95% | 97% |  | the ceiling's scaling | 10 ms |",
            "| causal, D 128: AVX2 | 88% | 50% | 62% | FMA peak | 1.5 s |",
            "| `small/x` |  | 50% | 62% | FMA peak | 5 µs |",
        ]:
            self.assertIn(line, table)
        with self.assertRaises(SystemExit):
            self.roofline.table([run_of(best)])  # without AVX2

    def test_points_stand_by_their_work_and_speed(self):
        cases = [("linear/a", 1, 1e9, 1e6, 0.01, None), ("decode/b", 1, 1e6, 2e6, 2e-4, None)]
        frame = self.roofline.Frame(run_of(cases))
        for (_, _, flops, read, seconds, _), limit in zip(cases, (100, 5)):  # both are on the roofs
            self.assertAlmostEqual(frame.roof(frame.x(flops / read)), frame.y(limit))
            self.assertAlmostEqual(flops / seconds / 1e9, limit)
        drawn = re.findall(r'<circle cx="(.*?)" cy="(.*?)"', "".join(frame.points()))
        places = [(frame.x(1000), frame.y(100)), (frame.x(0.5), frame.y(5))]
        self.assertEqual(drawn, [(f"{x:.1f}", f"{y:.1f}") for x, y in places])

    def test_numbers_of_points_do_not_overlap(self):
        cases = [(f"prefill/{n}", 1, 1e9, 1e6, 0.02, None) for n in range(20)]
        text = "".join(self.roofline.Frame(run_of(cases)).points())
        boxes = [tuple(map(float, box)) for box in re.findall(r'<rect x="(.*?)" y="(.*?)"', text)]
        self.assertEqual(len(boxes), 20)
        for (x, y), (u, v) in itertools.combinations(boxes, 2):
            self.assertTrue(abs(x - u) > 12.8 or abs(y - v) > 10.8)


if __name__ == "__main__":
    RAPT = sys.argv.pop(2)
    ROOT = pathlib.Path(sys.argv.pop(1))
    unittest.main()

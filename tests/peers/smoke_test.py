#!/usr/bin/env python3
"""bench/peers on few tokens: smoke_test.py SOURCE_DIR. Skips what is not installed."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(".")
HERE = pathlib.Path(__file__).resolve().parent
LIBRARIES = {
    "with_torch": "torch",
    "with_onnxruntime": "onnxruntime",
    "with_openvino": "openvino",
    "with_rapt": "rapt",
}


def interpreter_with(module):
    """A Python that has a module: of the environments that the project makes, or this one."""
    made = [ROOT / "build/peers/main/bin/python", ROOT / ".venv/bin/python", sys.executable]
    for python in filter(os.path.exists, made):
        if not subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode:
            return str(python)
    raise unittest.SkipTest(f"no {module} in {', '.join(map(str, made))}")


def smoke(python, modules, *options):
    """What compare.py finds on one thread."""
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, ROOT / "bench/peers/compare.py", "--smoke", "--threads", "1"]
        command += ["--python", f"main={python}", "--json", file.name]
        command += ["--modules", *modules, *options]
        environ = os.environ | {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(command, check=True, env=environ, capture_output=True, timeout=1000)
        return json.load(file)


class Smoke(unittest.TestCase):
    def test_faults_are_found(self):
        case = "prefill/f32/window256/d128/t4096/h8"
        results = smoke(interpreter_with("numpy"), ["with_plain"], "--cases", case)
        found = results["runs"][0]["cases"][0]["implementations"]
        plain = found.pop("plain")
        self.assertGreater(plain["seconds"], 0)
        self.assertGreater(plain["memory_bytes"], 0)
        self.assertLess(plain["error"], 1e-5)
        starts = {
            "wrong layout": "ValueError: wrong: an error of",
            "without mask": "ValueError: wrong: an error of",
            "wrong later": "ValueError: wrong: an error of inf",
            "aborts": "the process ended: SIGABRT",
            "refuses": "not on a Friday",
        }
        for name, start in starts.items():
            self.assertTrue(found[name].get("failure", "").startswith(start), (name, found[name]))

    def test_every_case(self):
        results = smoke(interpreter_with("numpy"), ["with_plain"])
        cases = results["runs"][0]["cases"]
        self.assertEqual(len(cases), 7)
        for case in cases:
            self.assertLess(case["implementations"]["plain"]["error"], 1e-2)

    def test_what_is_missing_is_said(self):
        missing = smoke(interpreter_with("numpy"), ["with_plain", "with_none"])["missing"]
        self.assertIn("No module named", missing["none"])


def library_test(module, library):
    def test(self):
        results = smoke(interpreter_with(library), [module])
        for case in results["runs"][0]["cases"]:
            ran = [one for one in case["implementations"].values() if "failure" not in one]
            expected = module != "with_onnxruntime" or "bf16" not in case["name"]
            self.assertEqual(bool(ran), expected, case)
            if module == "with_rapt":  # whatever it says it serves
                self.assertEqual(len(ran), len(case["implementations"]), case)

    return test


for module, library in LIBRARIES.items():
    setattr(Smoke, f"test_{library}", library_test(module, library))


if __name__ == "__main__":
    ROOT = pathlib.Path(sys.argv.pop(1)).resolve()
    result = unittest.main(verbosity=2, exit=False).result
    if len(result.skipped) == result.testsRun:
        sys.exit(77)  # ctest's sign of a skipped test
    sys.exit(not result.wasSuccessful())

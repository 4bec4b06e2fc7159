#!/usr/bin/env python3
"""Includes go downward only: include_direction_test.py SOURCE_DIR.

A room may include itself and the rooms before it. Public headers belong to the room that implements
them and include no other kind.
"""

import pathlib
import re
import sys
import tempfile
import unittest

ROOMS = [
    "base", "statistics", "simd", "kernels", "kv", "attention", "observe", "layer", "model", "heads", "serve", "audit", "c", "bench",
    "cli",
]
PUBLIC = {
    "base": ["arithmetic", "dtype", "error", "scratch", "tensor", "threads", "weight"],
    "statistics": ["statistics"],
    "kv": ["block_tables", "kv_cache", "paged_kv_cache"],
    "attention": ["attention", "batch", "block_mask", "kept_mass", "mask", "modifiers", "problem", "state"],
    "observe": ["copying", "head_similarity", "observe", "pooled_map", "received", "retrieval"],
    "layer": ["activation", "layer", "linear", "norm", "positions", "rotary", "rotary_append", "rotary_scaling"],
    "model": ["evaluate", "head_interventions", "model", "model_info", "observe_layers", "observer", "sampler", "session", "tokenizer"],
    "heads": ["alike_heads", "head_copying", "head_roles", "head_scores"],
    "serve": ["engine"],
    "audit": ["audit", "model_audit"],
    "c": ["rapt"],
}
ROOM_OF_PUBLIC = {f"rapt/{name}.h": room for room, names in PUBLIC.items() for name in names}
TESTS = re.compile(r"_test\.cc$|/test/")


def room_of(path):
    """The room of an include or of a path below the root's source folders; None if unknown."""
    room = ROOM_OF_PUBLIC.get(path, path.split("/")[0])
    return room if room in ROOMS else None


def violations(root):
    """Sentences, one for each include that points upward or nowhere."""
    found = []
    for folder, prefix in [("include", ""), ("src", ""), ("bench", "bench/"), ("cli", "cli/")]:
        for file in sorted((root / folder).rglob("*.[hc]*")):
            path = prefix + file.relative_to(root / folder).as_posix()
            if file.suffix not in (".h", ".cc") or TESTS.search(path):
                continue
            room = room_of(path)
            if room is None:
                found.append(f"{folder}: expected a known room, got {path}")
                continue
            for include in re.findall(r'^\s*#\s*include\s*"([^"]+)"', file.read_text(), re.M):
                target = room_of(include)
                if target is None or ROOMS.index(target) > ROOMS.index(room):
                    found.append(f"{path} ({room}): expected an include of {room} or below, got {include}")
                elif folder == "include" and not include.startswith("rapt/"):
                    found.append(f"{path}: expected a public header, got {include}")
    return found


class IncludeDirection(unittest.TestCase):
    root = pathlib.Path(".")

    def test_tree(self):
        self.assertGreater(len(list((self.root / "src").rglob("*.cc"))), 20)
        self.assertEqual(violations(self.root), [])

    def planted(self, path, include):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / path
            file.parent.mkdir(parents=True)
            file.write_text(f'#include <vector>\n#include "{include}"\n')
            return len(violations(pathlib.Path(folder)))

    def test_upward_includes_are_found(self):
        for path, include in [
            ("src/base/a.h", "simd/vec_avx2.h"),
            ("src/kernels/attention/a_inl.h", "rapt/mask.h"),
            ("src/kernels/attention/a_inl.h", "kv/layout.h"),
            ("src/kernels/linear/a.cc", "rapt/model.h"),
            ("src/attention/a.cc", "layer/a.h"),
            ("src/attention/a.cc", "rapt/observe.h"),
            ("src/model/a.cc", "cli/commands.h"),
            ("src/model/a.cc", "rapt/audit.h"),
            ("include/rapt/attention.h", "base/isa.h"),
            ("include/rapt/tensor.h", "rapt/problem.h"),
            ("include/rapt/unlisted.h", "rapt/tensor.h"),
            ("src/unlisted/a.cc", "rapt/tensor.h"),
            ("src/audit/a.cc", "rapt/rapt.h"),
            ("cli/main.cc", "unknown.h"),
        ]:
            with self.subTest(path=path, include=include):
                self.assertEqual(self.planted(path, include), 1)

    def test_downward_includes_are_not(self):
        for path, include in [
            ("src/kernels/attention/a.h", "base/isa.h"),
            ("src/kv/a.cc", "kernels/attention/attention.h"),
            ("src/layer/a.cc", "rapt/attention.h"),
            ("include/rapt/attention.h", "rapt/problem.h"),
            ("cli/main.cc", "bench/report.h"),
        ]:
            with self.subTest(path=path, include=include):
                self.assertEqual(self.planted(path, include), 0)


if __name__ == "__main__":
    IncludeDirection.root = pathlib.Path(sys.argv.pop(1))
    unittest.main()

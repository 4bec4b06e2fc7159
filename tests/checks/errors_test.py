#!/usr/bin/env python3
"""docs/numerics.md has the table of storage_errors, whose bounds hold: errors_test.py SOURCE_DIR PROGRAM."""

import pathlib
import subprocess
import sys

root, program = sys.argv[1:]
run = subprocess.run([program], capture_output=True, text=True)
if run.returncode != 0:
    sys.exit(f"an error is beyond its bound:\n{run.stdout}{run.stderr}")
if run.stdout not in (pathlib.Path(root) / "docs/numerics.md").read_text():
    sys.exit(f"docs/numerics.md: expected\n{run.stdout}")

import pathlib
import subprocess
import sys

import pytest

EXAMPLES = sorted((pathlib.Path(__file__).parents[2] / "examples").glob("[0-9]*.py"))


def test_every_topic_has_one():
    topics = {path.name[:3] for path in EXAMPLES}
    assert topics == {"4_1", "4_2", "4_3", "4_4", "4_5", "5_1", "5_2", "5_3", "5_4", "5_5"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path):
    run = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0 and "[ok]" in run.stdout and "[FAILED]" not in run.stdout, (
        run.stdout + run.stderr
    )

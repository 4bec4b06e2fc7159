import multiprocessing
import os
import subprocess
import sys
import threading
import time

import numpy as np
import oracle
import pytest
import torch

import rapt

Q, K, V = (oracle.random(1, 1000, 4, 64, seed=s) for s in range(3))


@pytest.fixture(autouse=True)
def restored():
    count = rapt.get_threads()
    yield
    rapt.set_threads(count)


def run():
    return rapt.attention(Q, K, V, mask=rapt.Mask.causal())


def test_number_shows_in_no_bit():
    assert rapt.get_threads() == os.cpu_count()
    rapt.set_threads(1)
    one = run()
    for count in (2, 3, 8):
        rapt.set_threads(count)
        assert rapt.get_threads() == count and np.array_equal(run(), one)
    rapt.set_threads(0)
    assert rapt.get_threads() == os.cpu_count()
    with pytest.raises(rapt.Error, match="expected 0 to 1024, got -1"):
        rapt.set_threads(-1)


def test_leaves_torch_alone():
    before = torch.get_num_threads()
    rapt.set_threads(before + 1)
    run()
    assert torch.get_num_threads() == before
    torch.set_num_threads(1)
    assert rapt.get_threads() == before + 1
    torch.set_num_threads(before)


def test_other_python_threads_go_on():
    rapt.set_threads(1)
    q = oracle.random(1, 4000, 8, 64)
    ticks = []
    done = threading.Event()

    def tick():
        while not done.wait(0.001):
            ticks.append(time.perf_counter())

    ticker = threading.Thread(target=tick)
    ticker.start()
    begin = time.perf_counter()
    rapt.attention(q, q, q)
    end = time.perf_counter()
    done.set()
    ticker.join()
    assert sum(begin < t < end for t in ticks) > 2


def test_calls_may_overlap():
    expected = run()
    results = []
    threads = [threading.Thread(target=lambda: results.append(run())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and all(np.array_equal(o, expected) for o in results)


@pytest.mark.parametrize("count", [1, 4])
def test_a_forked_child_works(count):
    rapt.set_threads(count)
    expected = run()
    child = os.fork()
    if child == 0:
        right = np.array_equal(run(), expected)
        rapt.set_threads(3)
        right = right and np.array_equal(run(), expected)
        os._exit(0 if right else 1)
    assert wait(child) == 0
    assert np.array_equal(run(), expected)


def wait(child, seconds=60):
    """The child's exit code; None if it hangs."""
    for _ in range(seconds * 100):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


def digest(_):
    return run().tobytes()


def test_multiprocessing_by_fork():
    rapt.set_threads(4)
    expected = run().tobytes()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(digest, range(4)).get(timeout=120) == [expected] * 4


CHILD = """
import os, sys
import numpy as np, rapt
x = np.ones((1, 600, 4, 64), np.float32)
rapt.set_threads(4)
rapt.attention(x, x, x)
child = os.fork()
if child == 0:
    rapt.attention(x, x, x)
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_ends_as_any_other():
    ended = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=120
    )
    assert ended.stdout == "7\n", ended

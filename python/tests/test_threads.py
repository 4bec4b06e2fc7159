import multiprocessing
import os
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import oracle
import pytest
import torch

import rapt

MODEL = pathlib.Path(__file__).parents[2] / "models" / "default"
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


def others_run_during(call):
    """Whether another Python thread runs while one calls: nothing but `call` lets it."""
    may_run, ran = threading.Semaphore(0), threading.Event()
    other = threading.Thread(target=lambda: may_run.acquire() and ran.set())
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        other.start()
        may_run.release()
        calls = iter(range(2000))
        while not ran.is_set() and next(calls, None) is not None:
            call()
        return ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        other.join()


def long_mask(tokens):
    return rapt.Mask.documents([np.arange(tokens) // 3 % 50]) & rapt.Mask.strided(3)


CALLS = {
    "attention": lambda: rapt.attention(Q, K, V),
    "attention_varlen": lambda: rapt.attention_varlen(Q[0], K[0], V[0], [0, 1000], [0, 1000]),
    "Mask.dense": lambda: rapt.Mask.dense(np.broadcast_to(BITS, (1, 1, 1000, 1000))),
    "Mask.dense of planes": lambda: rapt.Mask.dense(BITS),
    "make_plan": lambda: rapt.make_plan(PROBLEM),
    "visible_pairs": lambda: PROBLEM.visible_pairs,
    "append and read": lambda: (CACHE.truncate(0, 0), CACHE.append(K, V), CACHE.read(0, 1000)),
    "store": lambda: PAGES.store(0, 0, 0, K, V),
    "read of pages": lambda: PAGES.read(0, 0, 1000),
    "step": lambda: (ENGINE.submit(range(100), max_new_tokens=1), ENGINE.step()),
}
BITS = np.ones((1, 1, 1000, 1000), bool)
PROBLEM = rapt.Problem(q_tokens=3000, kv_tokens=3000, q_heads=1, head_dim=1, mask=long_mask(3000))
CACHE = rapt.DenseKvCache(capacity=1000, kv_heads=4, head_dim=64)
PAGES = rapt.PagedKvCache(pages=4, kv_heads=4, head_dim=64)
PAGES.extend(PAGES.create(), 1000)
ENGINE = rapt.Engine(rapt.Model.load(MODEL), reuse_prefixes=False)


@pytest.mark.parametrize("name", CALLS)
def test_other_python_threads_go_on(name):
    rapt.set_threads(1)
    assert others_run_during(CALLS[name])


def test_calls_of_one_thread_keep_the_others_waiting():
    """What the test above would find if nothing let others run."""
    assert not others_run_during(lambda: None)


class Meanwhile:
    """An array that has another thread call `then` while it is taken."""

    def __init__(self, array, then):
        self.array, self.then, self.error = array, then, None

    def __dlpack__(self, **options):
        thread = threading.Thread(target=self.call)
        thread.start()
        thread.join()
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def call(self):
        try:
            self.then()
        except rapt.Error as error:
            self.error = str(error)


def refused(use, array, then):
    """What `then` raises in another thread during use(array), which goes on undisturbed."""
    meanwhile = Meanwhile(array, then)
    assert np.array_equal(use(meanwhile), use(array))
    assert (meanwhile.error or ": expected").count(": expected") == 1
    return meanwhile.error and meanwhile.error.split(": expected")[0]


def test_sessions_are_used_by_one_thread_at_a_time():
    session = rapt.Session(rapt.Model.load(MODEL), 40)

    def prefill(tokens):
        session.truncate(0)
        return session.prefill(tokens)

    tokens = np.array([3, 5, 7])
    for name, then in [
        ("Session.prefill", lambda: session.prefill([1])),
        ("Session.truncate", lambda: session.truncate(0)),
        ("Session.length", lambda: session.length),
    ]:
        assert refused(prefill, tokens, then) == name
    assert session.length == 3


def test_layers_are_used_by_one_thread_at_a_time():
    weights = {name: oracle.random(16, 16, seed=n) for n, name in enumerate("qkvo")}
    layer = rapt.MultiHeadAttention(**weights, q_heads=2)
    x, cache = oracle.random(1, 5, 16), layer.make_cache(1, 5)
    assert refused(layer, x, lambda: layer(x)) == "MultiHeadAttention"
    assert refused(layer, x, lambda: layer.append(x, cache)) == "MultiHeadAttention.append"
    other = rapt.MultiHeadAttention(**weights, q_heads=2)
    layer.append(x, cache)

    def of_cache(given):
        return layer(given, cache=cache)

    assert refused(of_cache, x, lambda: other.append(x, cache)) == "MultiHeadAttention.append.cache"
    assert refused(of_cache, x, lambda: other(x, cache=cache)) is None


def test_caches_are_changed_by_one_thread_alone():
    cache = rapt.DenseKvCache(capacity=1000, kv_heads=4, head_dim=64)
    cache.append(K[:, :600], V[:, :600])
    bias = oracle.random(1, 1, 1000, 600)

    def attend(bias):
        return rapt.attention(Q, cache=cache, bias=bias)

    assert refused(attend, bias, lambda: cache.append(K, V)) == "DenseKvCache.append"
    assert refused(attend, bias, lambda: cache.truncate(0, 0)) == "DenseKvCache.truncate"
    assert refused(attend, bias, lambda: attend(bias)) is None
    assert refused(attend, bias, lambda: cache.read(0, 5)) is None

    def append(k):
        cache.truncate(0, 0)
        cache.append(k, V[:, :600])
        return cache.read(0, 600)[0]

    k = K[:, :600]
    assert refused(append, k, lambda: rapt.attention(Q, cache=cache)) == "attention.cache"
    assert refused(append, k, lambda: cache.length()) == "DenseKvCache.length"
    assert refused(append, k, lambda: cache.read(0, 1)) == "DenseKvCache.read"


def test_pages_are_changed_by_one_thread_alone():
    cache = rapt.PagedKvCache(pages=4, kv_heads=4, head_dim=64)
    sequence = cache.create()
    cache.extend(sequence, 600)
    cache.store(0, sequence, 0, K[:, :600], V[:, :600])
    bias = oracle.random(1, 1, 1000, 600)

    def attend(bias):
        return rapt.attention(Q, cache=cache.layer(0), sequences=[sequence], bias=bias)

    def store(k):
        cache.store(0, sequence, 0, k, V[:, :600])
        return cache.read(0, sequence, 600)[0]

    k = K[:, :600]
    for name, then in [
        ("PagedKvCache.create", cache.create),
        ("PagedKvCache.fork", lambda: cache.fork(sequence, 5)),
        ("PagedKvCache.free", lambda: cache.free(sequence)),
        ("PagedKvCache.extend", lambda: cache.extend(sequence, 1)),
        ("PagedKvCache.store", lambda: cache.store(0, sequence, 0, k, V[:, :600])),
        ("PagedKvCache.truncate", lambda: cache.truncate(sequence, 0)),
    ]:
        assert refused(attend, bias, then) == name
    assert refused(attend, bias, lambda: attend(bias)) is None
    assert refused(attend, bias, lambda: cache.read(0, sequence, 5)) is None
    assert refused(store, k, lambda: attend(bias)) == "attention.cache"
    assert refused(store, k, lambda: cache.read(0, sequence, 5)) == "PagedKvCache.read"
    assert refused(store, k, lambda: cache.length(sequence)) == "PagedKvCache.length"
    assert refused(store, k, lambda: cache.free_pages) == "PagedKvCache.free_pages"


def test_engines_are_used_by_one_thread_at_a_time():
    engine = rapt.Engine(rapt.Model.load(MODEL))

    def submit(prompt):
        request = engine.submit(prompt, max_new_tokens=1)
        return [event.token for event in engine.step() if event.request == request]

    prompt = np.array([3, 5, 7])
    for name, then in [
        ("Engine.submit", lambda: engine.submit([1])),
        ("Engine.step", engine.step),
        ("Engine.cancel", lambda: engine.cancel(0)),
        ("Engine.busy", lambda: engine.busy),
        ("Engine.metrics", lambda: engine.metrics),
    ]:
        assert refused(submit, prompt, then) == name


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
import os
import numpy as np, rapt
x = np.ones((1, 600, 4, 64), np.float32)
rapt.set_threads(4)
rapt.attention(x, x, x)
child = os.fork()
if child == 0:
    rapt.attention(x, x, x)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_ends_as_those_of_multiprocessing_do():
    ended = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=120
    )
    assert ended.stdout == "7\n", ended
